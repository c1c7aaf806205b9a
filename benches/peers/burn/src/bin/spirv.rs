//! Burn with the feature `vulkan`: SPIR-V where the adapter allows it.
fn main() -> std::io::Result<()> {
    peer_burn::run()
}
