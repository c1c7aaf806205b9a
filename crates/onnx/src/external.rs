//! Tensor data outside the model file (IR.md, "External Tensor Data").

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Component, Path, PathBuf},
};

use prost::bytes::Bytes;

use crate::source::{DataSource, FileRange, read_range};

/// Where the data of tensors that are not in the model file comes from: a folder, a set of files in memory, a download.
pub trait ExternalData {
    /// `length` bytes from byte `offset` of the file that the model calls `location`.
    ///
    /// Both the location and the numbers come from the model and may be anything; an implementation checks them before it opens
    /// or allocates.
    ///
    /// # Errors
    /// Any I/O error; the reader adds the tensor's name and the location.
    fn load(&self, location: &str, offset: u64, length: u64) -> io::Result<Bytes>;

    /// The same bytes, to be read whenever they are needed: large weights leave host memory once they are on a device. Unless
    /// this is implemented, the bytes are loaded now and kept.
    ///
    /// # Errors
    /// As [`ExternalData::load`].
    fn source(&self, location: &str, offset: u64, length: u64) -> io::Result<Box<dyn DataSource>> {
        Ok(Box::new(self.load(location, offset, length)?))
    }
}

/// For models that must be whole in their file: every load is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExternalData;

impl ExternalData for NoExternalData {
    fn load(&self, _location: &str, _offset: u64, _length: u64) -> io::Result<Bytes> {
        let text = "the model's other files were not given";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}

/// Files in memory by location.
impl ExternalData for HashMap<String, Bytes> {
    fn load(&self, location: &str, offset: u64, length: u64) -> io::Result<Bytes> {
        let Some(file) = self.get(location) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no such file was given",
            ));
        };
        check_range(file.len() as u64, offset, length)?;
        // Both fit, since the file does.
        Ok(file.slice(offset as usize..(offset + length) as usize))
    }
}

/// The folder that a model lies in. Only plain files inside it are read: no absolute locations, no `..`, no backslashes,
/// and no links that lead out of it.
#[derive(Clone, Debug)]
pub struct ModelDir {
    folder: PathBuf,
}

impl ModelDir {
    /// The folder `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> ModelDir {
        ModelDir {
            folder: folder.into(),
        }
    }

    /// The folder of the model file at `model`.
    pub fn of_model(model: impl AsRef<Path>) -> ModelDir {
        match model.as_ref().parent() {
            Some(parent) if parent != Path::new("") => ModelDir::new(parent),
            _ => ModelDir::new("."),
        }
    }

    fn resolve(&self, location: &str) -> io::Result<PathBuf> {
        let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        let path = Path::new(location);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || location.contains('\\') || !path.components().all(plain) {
            return refuse("not a plain relative path");
        }
        let folder = self.folder.canonicalize()?;
        let file = folder.join(path).canonicalize()?;
        if !file.starts_with(&folder) {
            return refuse(
                "leads out of the model's folder; put the file itself, not a link, beside the model",
            );
        }
        // A pipe or device would block or never end.
        if !file.metadata()?.is_file() {
            return refuse("not a plain file");
        }
        Ok(file)
    }
}

impl ExternalData for ModelDir {
    fn load(&self, location: &str, offset: u64, length: u64) -> io::Result<Bytes> {
        let mut file = File::open(self.resolve(location)?)?;
        check_range(file.metadata()?.len(), offset, length)?;
        read_range(&mut file, offset, length)
    }

    fn source(&self, location: &str, offset: u64, length: u64) -> io::Result<Box<dyn DataSource>> {
        let path = self.resolve(location)?;
        Ok(Box::new(FileRange::new(path, offset, length)?))
    }
}

pub(crate) fn check_range(size: u64, offset: u64, length: u64) -> io::Result<()> {
    if offset.checked_add(length).is_some_and(|end| end <= size) {
        return Ok(());
    }
    let text = format!("{length} bytes at {offset} are not in a file of {size}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A fresh folder for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("tilewright-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(folder.join("model/sub")).unwrap();
            fs::write(folder.join("secret"), b"secret").unwrap();
            fs::write(folder.join("model/weights"), b"0123456789").unwrap();
            fs::write(folder.join("model/sub/more"), b"abc").unwrap();
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn reads_ranges_of_files_in_the_folder() {
        let folder = Folder::new("ranges");
        let dir = ModelDir::of_model(folder.0.join("model/model.onnx"));
        assert_eq!(&dir.load("weights", 2, 3).unwrap()[..], b"234");
        assert_eq!(&dir.load("./sub/more", 0, 3).unwrap()[..], b"abc");
        assert_eq!(&dir.load("weights", 10, 0).unwrap()[..], b"");
        for (offset, length) in [(0, 11), (10, 1), (11, 0), (u64::MAX, 1), (1, u64::MAX)] {
            let error = dir.load("weights", offset, length).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{offset} {length}"
            );
        }
        assert_eq!(
            dir.load("absent", 0, 0).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn refuses_to_leave_the_folder() {
        let folder = Folder::new("escape");
        let dir = ModelDir::new(folder.0.join("model"));
        let absolute = folder.0.join("secret");
        let absolute = absolute.to_str().unwrap();
        for location in [
            "../secret",
            "sub/../../secret",
            "sub/../weights",
            absolute,
            "",
            "..",
            ".",
            "sub",
            "sub\\more",
        ] {
            let error = dir.load(location, 0, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{location}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn follows_links_only_inside_the_folder() {
        let folder = Folder::new("links");
        let model = folder.0.join("model");
        std::os::unix::fs::symlink("../secret", model.join("out")).unwrap();
        std::os::unix::fs::symlink("..", model.join("up")).unwrap();
        std::os::unix::fs::symlink("weights", model.join("in")).unwrap();
        let dir = ModelDir::new(&model);
        assert_eq!(&dir.load("in", 0, 1).unwrap()[..], b"0");
        for location in ["out", "up/secret"] {
            let error = dir.load(location, 0, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{location}");
        }
    }

    #[test]
    fn reads_files_in_memory() {
        let files = HashMap::from([("w".to_owned(), Bytes::from_static(b"0123"))]);
        assert_eq!(&files.load("w", 1, 2).unwrap()[..], b"12");
        assert!(files.load("w", 3, 2).is_err());
        assert!(files.load("v", 0, 0).is_err());
    }
}
