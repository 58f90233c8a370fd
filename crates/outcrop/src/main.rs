//! `outcrop`: a hybrid routing gateway for AI operations.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outcrop::cli::run()
}
