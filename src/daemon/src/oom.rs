//! How soon the kernel ends this process when memory runs out.

use std::io;
use std::time::Duration;

use tracing::{debug, info};

/// Lowering the value takes `CAP_SYS_RESOURCE` (`__set_oom_adj` in `fs/proc/base.c`).
const FILE: &str = "/proc/self/oom_score_adj";
const TRIES: u32 = 2;
const PAUSE: Duration = Duration::from_millis(100);

/// Sets the value, from -1000 (never) to 1000. Doing without is said, but no trouble: in a container it is for the kubelet to set.
pub(crate) async fn adjust(score: i32) {
    for attempt in 1..=TRIES {
        match set(score) {
            Ok(()) => return,
            Err(error) => debug!(%error, score, attempt, "{FILE} cannot be set"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    let current = current().map(|current| current.trim().to_owned()).unwrap_or_default();
    info!(wanted = score, current, "oomScoreAdj cannot be set and stays as it is");
}

/// What is already so needs no permission.
fn set(score: i32) -> io::Result<()> {
    if current()?.trim().parse() == Ok(score) {
        return Ok(());
    }
    std::fs::write(FILE, score.to_string())
}

fn current() -> io::Result<String> {
    std::fs::read_to_string(FILE)
}
