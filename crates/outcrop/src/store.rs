//! The store that the file names, opened.

use outcrop_store::{Register, StoreError};

use crate::config::{Checked, Keeping};

/// The register of the documents that outlive a request: keys, stops, flags.
pub(crate) fn open(checked: &Checked) -> Result<Register, StoreError> {
    match &checked.keeping {
        Keeping::Memory => Ok(Register::in_memory()),
        Keeping::Folder(_) | Keeping::Shared => Err(StoreError::Refused("there is no durable store".into())),
    }
}
