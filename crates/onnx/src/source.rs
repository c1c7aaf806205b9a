//! Where the data of large tensors can be read again: the model's bytes, a range of a file, whatever an [`ExternalData`] says.
//!
//! A file is read by its range whenever the data is needed. Mapping it into memory would save a copy, but is `unsafe`: another
//! process may change the file under the mapping.

use std::{
    fmt,
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use prost::bytes::Bytes;
use tilewright_graph::{ThreadSafe, WeightSource};
use tilewright_tensor::HostTensor;

use crate::{external::check_range, tensor::Slot};

/// Bytes that can be had at any time, more than once.
pub trait DataSource: fmt::Debug + ThreadSafe {
    /// The bytes.
    ///
    /// # Errors
    /// Any I/O error; the reader adds the tensor's name and the place.
    fn read(&self) -> io::Result<Bytes>;

    /// Where they come from, for errors: a file's path.
    fn place(&self) -> String;

    /// How many bytes of host memory the source itself keeps for them.
    fn held(&self) -> u64 {
        0
    }
}

impl DataSource for Bytes {
    fn read(&self) -> io::Result<Bytes> {
        Ok(self.clone())
    }

    fn place(&self) -> String {
        "bytes in memory".to_owned()
    }

    fn held(&self) -> u64 {
        self.len() as u64
    }
}

/// A range of a file. Reading it is an error if the file is gone, has another length or was modified since this was made.
#[derive(Clone, Debug)]
pub struct FileRange {
    path: PathBuf,
    offset: u64,
    length: u64,
    stamp: Stamp,
}

/// What tells that a file is not the one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    /// None where the system does not say.
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl FileRange {
    /// `length` bytes from byte `offset` of the file at `path`, which is not opened yet. The file is later found by the path
    /// that this one leads to now, links followed.
    ///
    /// # Errors
    /// [`io::Error`] for a file that is not there or shorter.
    pub fn new(path: impl AsRef<Path>, offset: u64, length: u64) -> io::Result<FileRange> {
        let path = path.as_ref().canonicalize()?;
        let stamp = Stamp::of(&path.metadata()?);
        check_range(stamp.length, offset, length)?;
        Ok(FileRange {
            path,
            offset,
            length,
            stamp,
        })
    }
}

impl DataSource for FileRange {
    fn read(&self) -> io::Result<Bytes> {
        // A link put in its place could lead anywhere.
        if self.path.canonicalize()? != self.path {
            return Err(changed());
        }
        let mut file = File::open(&self.path)?;
        if Stamp::of(&file.metadata()?) != self.stamp {
            return Err(changed());
        }
        read_range(&mut file, self.offset, self.length)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

fn changed() -> io::Error {
    let text = "the file was changed since the model was read";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// `length` bytes from byte `offset` of a file that has them.
pub(crate) fn read_range(file: &mut File, offset: u64, length: u64) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(offset))?;
    let mut data = Vec::new();
    let count = usize::try_from(length).unwrap_or(usize::MAX);
    let reserved = data.try_reserve_exact(count);
    reserved.map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
    file.take(length).read_to_end(&mut data)?;
    // The file may have shrunk since its length was asked for.
    check_range(data.len() as u64, 0, length)?;
    Ok(data.into())
}

/// Where the bytes of a model come from.
pub(crate) struct Origin {
    /// The file, if it can be read again, and the address that its first byte was read to.
    file: Option<(PathBuf, Stamp, usize)>,
}

impl Origin {
    /// Of bytes that are only in memory.
    pub(crate) fn memory() -> Origin {
        Origin { file: None }
    }

    /// Reads a file. A pipe cannot be read twice, so its bytes are kept.
    pub(crate) fn read(path: &Path) -> io::Result<(Bytes, Origin)> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut data = Vec::new();
        let count = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let reserved = data.try_reserve_exact(count);
        reserved.map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
        file.read_to_end(&mut data)?;
        let (data, stamp) = (Bytes::from(data), Stamp::of(&metadata));
        let again = metadata.is_file() && stamp.length == data.len() as u64;
        let file = match path.canonicalize() {
            Ok(path) if again => Some((path, stamp, data.as_ptr() as usize)),
            _ => None,
        };
        Ok((data, Origin { file }))
    }

    /// Where `part` of the model's bytes can be had again.
    pub(crate) fn source(&self, part: &Bytes) -> Box<dyn DataSource> {
        let length = part.len() as u64;
        if let Some((path, stamp, start)) = &self.file
            && let Some(offset) = (part.as_ptr() as usize).checked_sub(*start)
            && check_range(stamp.length, offset as u64, length).is_ok()
        {
            return Box::new(FileRange {
                path: path.clone(),
                offset: offset as u64,
                length,
                stamp: *stamp,
            });
        }
        Box::new(part.clone())
    }
}

/// A tensor whose packed bytes a source has.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) slot: Slot,
    pub(crate) data: Box<dyn DataSource>,
}

impl WeightSource for Raw {
    fn load(&self) -> tilewright_graph::Result<HostTensor> {
        let error = |source: io::Error| {
            tilewright_graph::Error::weight(&self.slot.name, &self.data.place(), source)
        };
        let bytes = self.data.read().map_err(error)?;
        let made = self.slot.read_raw(&bytes);
        made.map_err(|e| error(io::Error::new(io::ErrorKind::InvalidData, e.to_string())))
    }

    fn held(&self) -> u64 {
        self.data.held()
    }
}
