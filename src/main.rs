//! The forebay binary: everything is in the library.

use std::process::ExitCode;

/// A tenth of a small hit went to the system's allocator, most of it taking back what another thread had allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    forebay::cli::run()
}
