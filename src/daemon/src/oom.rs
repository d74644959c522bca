//! How soon the kernel ends this process when memory runs out.

use std::io;
use std::time::Duration;

use tracing::debug;

/// Lowering the value takes `CAP_SYS_RESOURCE` (`__set_oom_adj` in `fs/proc/base.c`).
const FILE: &str = "/proc/self/oom_score_adj";
const TRIES: u32 = 2;
const PAUSE: Duration = Duration::from_millis(100);

/// Sets the value, from -1000 (never) to 1000. Doing without is no trouble: in a container it is for the kubelet to set.
pub(crate) async fn adjust(score: i32) {
    for attempt in 1..=TRIES {
        match set(score) {
            Ok(()) => return,
            Err(error) => debug!(%error, score, attempt, "{FILE} cannot be set"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is already so needs no permission.
fn set(score: i32) -> io::Result<()> {
    let current = std::fs::read_to_string(FILE)?;
    if current.trim().parse() == Ok(score) {
        return Ok(());
    }
    std::fs::write(FILE, score.to_string())
}
