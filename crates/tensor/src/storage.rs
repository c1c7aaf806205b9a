//! The identity of what a tensor holds.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use crate::{DType, HostTensor, Shape};

/// Which storage a tensor has: equal for its clones and reshapes, different for any other tensor, also for one that is made
/// after this one is gone. It does not keep the data; it is a key for what was made from them.
#[derive(Clone, Debug)]
pub struct StorageRef(Weak<Vec<u64>>);

impl StorageRef {
    pub(crate) fn new(words: &Arc<Vec<u64>>) -> StorageRef {
        StorageRef(Arc::downgrade(words))
    }

    /// A tensor of `dtype` and `shape` with the storage, while any tensor has it; none too where the storage does not have
    /// exactly the words for that.
    pub fn tensor(&self, dtype: DType, shape: &Shape) -> Option<HostTensor> {
        HostTensor::over(dtype, shape, self.0.upgrade()?)
    }

    /// Whether any tensor still has the storage. If not, none ever will.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

// The weak pointer keeps the address from being given to another storage, so it identifies one.
impl PartialEq for StorageRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for StorageRef {}

impl Hash for StorageRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, HostTensor};

    #[test]
    fn clones_and_reshapes_are_the_same_storage_and_nothing_else_ever_is() {
        let tensor = HostTensor::from_vec([2, 3], vec![0f32; 6]).unwrap();
        let key = tensor.storage_ref();
        assert_eq!(tensor.clone().storage_ref(), key);
        assert_eq!(tensor.reshape([6]).unwrap().storage_ref(), key);
        drop(tensor);
        assert!(!key.is_alive());
        for _ in 0..100 {
            let other = HostTensor::from_vec([2, 3], vec![0f32; 6]).unwrap();
            assert_ne!(other.storage_ref(), key);
        }
    }

    #[test]
    fn a_tensor_can_be_had_again_while_it_lives() {
        let tensor = HostTensor::from_vec([2, 3], vec![1f32; 6]).unwrap();
        let key = tensor.storage_ref();
        let again = key.tensor(DType::F32, tensor.shape()).unwrap();
        assert_eq!((&again, again.storage_ref()), (&tensor, key.clone()));
        assert!(key.tensor(DType::F32, &[2, 4].into()).is_none());
        drop((tensor, again));
        assert!(key.tensor(DType::F32, &[2, 3].into()).is_none());
    }

    #[test]
    fn a_changed_tensor_has_another_storage() {
        let mut tensor = HostTensor::from_vec([1], vec![1f32]).unwrap();
        let key = tensor.storage_ref();
        tensor.as_mut_slice::<f32>().unwrap()[0] = 2.0;
        assert_ne!(tensor.storage_ref(), key);
        assert!(!key.is_alive());
    }
}
