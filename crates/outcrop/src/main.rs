//! `outcrop`: a hybrid routing gateway for AI operations.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Huge pages make a small process look large (the allocator's arenas are filled 2 MiB at a time) and
    // serve a gateway nothing. Where the kernel refuses, the process is only larger.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
    outcrop::cli::run()
}
