//! `[decisions]` as people write it.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::Text;

/// Decision records. Taken at start only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// File to which the record of every request is appended as a JSON line; relative to the folder of this
    /// file. It names callers and models, and holds no content. Default: none.
    #[schemars(with = "Option<String>")]
    pub export: Option<Text>,
    /// Its size in bytes at which it is moved to `file.1`, and so on. Default 67108864.
    #[schemars(with = "Option<u64>")]
    pub export_bytes_max: Option<Spanned<u64>>,
    /// Moved files that are kept. Default 4.
    pub export_kept: Option<u8>,
}
