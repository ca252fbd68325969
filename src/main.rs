//! The `thermocline` command: everything it does is in [`thermocline::cli`].

use std::process::ExitCode;

/// A gateway allocates for each request on one thread and frees on another: with the allocator of glibc a job costs it 15 to 30 %
/// more CPU (`benches/gateway`). Simulations allocate next to nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    thermocline::cli::main()
}
