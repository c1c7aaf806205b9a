//! Stores the offset of each maximum, counted as if channels came first.
//! Slots: lanes
/// Channels; for channels first one, as `outer` counts them.
//#param channels: u32
/// Offsets count the spatial axes with the first one fastest.
//#param columns: u32
@group(0) @binding(INDICES) var<storage, read_write> indices: array<Index>;

fn keep_index(at: u32, offset: Index) { indices[at] = offset; }

fn kept_index(at: u32) -> Index { return indices[at]; }

fn store_index(at: u32, outer: u32, i: u32, offset: Index) {
    let size = p.in_size;
    var place = offset;
    if p.columns != 0u {
        place = (offset % size.z * size.y + offset / size.z % size.y) * size.x + offset / (size.y * size.z);
    }
    indices[at] = place + (outer * p.channels + lanes(i)) * (size.x * size.y * size.z);
}
