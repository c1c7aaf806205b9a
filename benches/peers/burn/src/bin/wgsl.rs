//! Burn with the kernels that its default features compile: WGSL.
fn main() -> std::io::Result<()> {
    peer_burn::run()
}
