//! Having the kernel load a module of its own.

use std::ffi::CString;
use std::path::Path;

use crate::socket;

/// Where the kernel shows modules that are loaded.
const LOADED: &str = "/sys/module";

/// Asks the kernel for a module, unless it is loaded, and tells whether it is loaded then. One that is built into the kernel
/// may count as not loaded.
///
/// No program is run and no module file is looked for by us: the kernel does both, as whenever somebody asks for a network
/// interface that does not exist (`dev_load` in `net/core/dev_ioctl.c`). It wants `CAP_SYS_MODULE` for that. Its log says, once,
/// that this way of loading modules is deprecated.
pub fn load(name: &str) -> bool {
    let shown = Path::new(LOADED).join(name);
    if shown.exists() {
        return true;
    }
    if let Ok(name) = CString::new(name) {
        socket::look_up_interface(&name);
    }
    shown.exists()
}
