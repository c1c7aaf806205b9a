//! NumPy's `.npz` files: zip archives of `.npy` files, stored or deflated.

use std::{
    collections::HashSet,
    io::{Read, Write},
};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveWriter};

use crate::{Error, HostTensor, Result, npy};

/// Reads all arrays in the order of the archive, named without `.npy`. `limit` bounds the unpacked size of all of
/// them together in bytes, because a small archive can unpack to anything.
///
/// # Errors
/// [`Error::File`] for what is no such archive, for a name that comes twice, and past the limit; otherwise those of
/// [`npy::read`].
pub fn read(file: &[u8], limit: usize) -> Result<Vec<(String, HostTensor)>> {
    let archive = ZipArchive::from_slice(file).map_err(invalid)?;
    let (mut entries, mut left) = (archive.entries(), limit as u64);
    let (mut names, mut tensors) = (HashSet::new(), Vec::new());
    while let Some(record) = entries.next_entry().map_err(invalid)? {
        let path = record.file_path();
        let name = String::from_utf8_lossy(path.as_ref()).into_owned();
        let entry = archive.get_entry(record.wayfinder()).map_err(invalid)?;
        let packed: Box<dyn Read> = match record.compression_method() {
            CompressionMethod::STORE => Box::new(entry.data()),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(entry.data())),
            method => return Err(invalid(format!("{name}: unknown compression {method:?}"))),
        };
        let mut data = Vec::new();
        // One byte more tells an array at the limit from one past it. The declared size is not believed.
        let mut unpacked = entry.verifying_reader(packed).take(left.saturating_add(1));
        let result = unpacked.read_to_end(&mut data);
        result.map_err(|error| invalid(format!("{name}: {error}")))?;
        left = match left.checked_sub(data.len() as u64) {
            Some(left) => left,
            None => return Err(invalid(format!("unpacks to more than {limit} bytes"))),
        };
        let stem = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        if !names.insert(stem.clone()) {
            return Err(invalid(format!("{stem} comes twice")));
        }
        tensors.push((stem, npy::read(&data)?));
    }
    if tensors.len() as u64 != archive.entries_hint() {
        return Err(invalid(
            "the directory does not hold as many entries as it says",
        ));
    }
    Ok(tensors)
}

/// Writes arrays under their names, uncompressed as `numpy.savez` does.
///
/// # Errors
/// [`Error::Unsupported`] for element types that NumPy does not have, [`Error::File`] for a name given twice.
pub fn write<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a HostTensor)>) -> Result<Vec<u8>> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        if !names.insert(name) {
            return Err(invalid(format!("{name} comes twice")));
        }
        let file = archive.new_file(format!("{name}.npy"));
        let file = file.compression_method(CompressionMethod::STORE);
        let (mut entry, config) = file.start().map_err(invalid)?;
        let mut data = config.wrap(&mut entry);
        data.write_all(&npy::write(tensor)?).map_err(invalid)?;
        let (_, descriptor) = data.finish().map_err(invalid)?;
        entry.finish(descriptor).map_err(invalid)?;
    }
    archive.finish().map_err(invalid)
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::File {
        format: "npz",
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::DeflateEncoder};

    use super::*;
    use crate::DType;

    #[test]
    fn round_trips() {
        let a = HostTensor::from_vec([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let b = HostTensor::scalar(true);
        let file = write([("a", &a), ("layer/b", &b)]).unwrap();
        let expected = vec![("a".to_owned(), a.clone()), ("layer/b".to_owned(), b)];
        assert_eq!(read(&file, 1 << 20).unwrap(), expected);
        assert!(write([("a", &a), ("a", &a)]).is_err());
        assert_eq!(read(&write([]).unwrap(), 0).unwrap(), []);
    }

    #[test]
    fn deflated_entries_are_read_up_to_the_limit() {
        let zeros = HostTensor::zeros(DType::F32, [1 << 16]).unwrap();
        let mut archive = ZipArchiveWriter::new(Vec::new());
        let new = archive.new_file("zeros.npy");
        let new = new.compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = new.start().unwrap();
        let mut data = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
        data.write_all(&npy::write(&zeros).unwrap()).unwrap();
        let (encoder, descriptor) = data.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
        let file = archive.finish().unwrap();
        assert!(file.len() < 4096);
        let size = (1 << 18) + 128;
        assert_eq!(read(&file, size).unwrap(), [("zeros".to_owned(), zeros)]);
        let error = read(&file, size - 1).unwrap_err().to_string();
        assert!(error.contains("unpacks to more than"), "{error}");
    }

    #[test]
    fn damaged_archives_are_typed_errors() {
        let a = HostTensor::from_vec([4], vec![1u8, 2, 3, 4]).unwrap();
        let file = write([("a", &a)]).unwrap();
        for keep in 0..file.len() {
            assert!(read(&file[..keep], 1 << 20).is_err());
        }
        let mut damaged = file.clone();
        let data = damaged.windows(4).position(|w| w == [1, 2, 3, 4]).unwrap();
        damaged[data] = 9;
        // The checksum tells.
        assert!(read(&damaged, 1 << 20).is_err());
    }
}
