//! Sizes of a product. They are uniforms: one program serves every size.
//#use c_size
/// Elements along k of one k block, and its quarter rounded up.
//#param k: u32
//#param k4: u32
