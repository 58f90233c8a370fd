//! The catalogue that ships: list prices of Bedrock, OpenAI and Anthropic, taken on one day from one
//! release of a public data set (`scripts/prices` makes it).
//!
//! It answers only where the data does. A plain Bedrock id stands for the list price in the United States
//! or of the global profile, so where the data shows that the caller's own geography costs more, or prices
//! the model region by region without naming this one, the price is unknown. Other partitions (`us-gov`) have
//! rows of their own.

mod row;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use outcrop_core::PathKind;
use outcrop_core::money::Price;
use serde::{Deserialize, Serialize};

/// Made by `scripts/prices`.
const SHIPPED: &str = include_str!("../../data/prices.json");

/// Where the catalogue comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The data set.
    pub name: String,
    /// The package that carries it.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The day on which it was taken.
    pub date: String,
    /// Its licence; the text is beside the data in the source tree.
    pub licence: String,
    /// The file inside the package.
    pub table: String,
    /// Of that file, with its keys in order.
    pub sha256: String,
}

/// A model as the catalogue lists it.
#[derive(Debug)]
pub struct Listed {
    /// Its region, or its geography, where it costs something else there.
    region: Option<Box<str>>,
    /// Its price.
    pub price: Arc<Price>,
    /// The most output tokens it makes.
    pub output_tokens_max: Option<u64>,
}

type Models = HashMap<Box<str>, Vec<Listed>>;

/// List prices of one day.
#[derive(Debug)]
pub struct Catalogue {
    origin: Origin,
    bedrock: Models,
    openai: Models,
    anthropic: Models,
}

/// Why a catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It is not of the expected shape, or a price is no number.
    #[error("the price catalogue cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// A model stands there twice.
    #[error("the price catalogue lists `{0}` twice")]
    Twice(String),
    /// A row names a source that is not there.
    #[error("the price catalogue has no source for `{0}`")]
    Source(String),
}

impl Catalogue {
    /// The catalogue inside this binary, read when it is first asked for.
    pub fn shipped() -> Result<&'static Self, &'static CatalogueError> {
        static READ: LazyLock<Result<Catalogue, CatalogueError>> = LazyLock::new(|| Catalogue::read(SHIPPED));
        READ.as_ref()
    }

    /// Reads a catalogue.
    pub fn read(json: &str) -> Result<Self, CatalogueError> {
        let file: row::File = serde_json::from_str(json)?;
        let label = format!("{} {} ({})", file.origin.package, file.origin.version, file.origin.date);
        let version = Arc::from(label);
        let models = |rows: Vec<row::Row>| collect(rows, &file.sources, &version);
        Ok(Self {
            bedrock: models(file.bedrock)?,
            openai: models(file.openai)?,
            anthropic: models(file.anthropic)?,
            origin: file.origin,
        })
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        [&self.bedrock, &self.openai, &self.anthropic]
            .iter()
            .flat_map(|models| models.values())
            .map(Vec::len)
            .sum()
    }

    /// The price of a model on a path of this kind and region. Whatever the MCP server of a path costs is
    /// for its operator to say.
    pub fn find(&self, kind: PathKind, model_id: &str, region: Option<&str>) -> Option<&Arc<Price>> {
        let entry = match kind {
            PathKind::Bedrock => {
                let place = BedrockPlace::of(model_id, region)?;
                place.listed(&self.bedrock).filter(|listed| !place.is_doubtful(&self.bedrock, listed))
            }
            PathKind::OpenAi => listed_in_geography(&self.openai, model_id, region),
            PathKind::Anthropic => listed_in_geography(&self.anthropic, model_id, region),
            PathKind::Mcp => None,
        };
        entry.map(|listed| &listed.price)
    }

    /// The most output tokens that a model makes.
    pub fn output_tokens_max(&self, kind: PathKind, model_id: &str, region: Option<&str>) -> Option<u64> {
        let entry = match kind {
            PathKind::Bedrock => BedrockPlace::of(model_id, region)?.listed(&self.bedrock),
            PathKind::OpenAi => listed_in_geography(&self.openai, model_id, region),
            PathKind::Anthropic => listed_in_geography(&self.anthropic, model_id, region),
            PathKind::Mcp => None,
        };
        entry?.output_tokens_max
    }
}

fn collect(rows: Vec<row::Row>, sources: &[Arc<str>], version: &Arc<str>) -> Result<Models, CatalogueError> {
    let mut models = Models::with_capacity(rows.len());
    for row in rows {
        let id = row.id.clone();
        let listed = row.listed(sources, version)?;
        let entries = models.entry(id).or_default();
        if entries.iter().any(|known| known.region == listed.region) {
            return Err(CatalogueError::Twice(listed.price.row.to_string()));
        }
        entries.push(listed);
    }
    Ok(models)
}

fn entry<'a>(models: &'a Models, id: &str, region: Option<&str>) -> Option<&'a Listed> {
    models.get(id)?.iter().find(|listed| listed.region.as_deref() == region)
}

/// A model outside Bedrock: some cost more where the path's declared region binds the processing to a
/// geography.
fn listed_in_geography<'a>(models: &'a Models, id: &str, region: Option<&str>) -> Option<&'a Listed> {
    let geography = region.and_then(|region| region.split('-').next());
    entry(models, id, geography).or_else(|| entry(models, id, None))
}

/// Where a Bedrock identifier is asked for.
struct BedrockPlace<'a> {
    id: &'a str,
    region: &'a str,
}

impl<'a> BedrockPlace<'a> {
    /// `None` for what hides its model: application profiles, provisioned and custom models, prompts,
    /// routers.
    fn of(model_id: &'a str, region: Option<&'a str>) -> Option<Self> {
        let path_region = region.unwrap_or_default();
        let Some(arn) = model_id.strip_prefix("arn:") else {
            return Some(Self { id: model_id, region: path_region });
        };
        let mut parts = arn.splitn(5, ':');
        let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (_account, resource) = (parts.next()?, parts.next()?);
        let (sort, id) = resource.split_once('/')?;
        let known = ["aws", "aws-us-gov"].contains(&partition) && service == "bedrock";
        let named = ["foundation-model", "inference-profile"].contains(&sort);
        let region = if region.is_empty() { path_region } else { region };
        (known && named).then_some(Self { id, region })
    }

    fn listed<'m>(&self, models: &'m Models) -> Option<&'m Listed> {
        let own = entry(models, self.id, Some(self.region));
        let elsewhere =
            ["us-gov-", "us-iso", "cn-", "eusc-"].iter().any(|start| self.region.starts_with(start));
        let general = entry(models, self.id, None).filter(|_| !elsewhere || self.id.starts_with("us-gov."));
        own.or(general)
    }

    /// Whether the data itself speaks against a row that names no region.
    fn is_doubtful(&self, models: &Models, listed: &Listed) -> bool {
        if listed.region.is_some() {
            return false;
        }
        let commercial = |region: &str| !region.starts_with("us-gov-");
        let by_region = models.get(self.id).is_some_and(|entries| {
            entries.iter().filter_map(|entry| entry.region.as_deref()).any(commercial)
        });
        let is_dearer = |geography: &&'static str| {
            let profile = entry(models, &format!("{geography}.{}", self.id), None);
            profile.is_some_and(|profile| dearer(&profile.price, &listed.price))
        };
        (by_region && !self.region.starts_with("us-")) || self.geographies().iter().any(is_dearer)
    }

    /// Prefixes of the profiles that serve a region.
    fn geographies(&self) -> &'static [&'static str] {
        match self.region {
            region if region.starts_with("eu-") => &["eu"],
            "ap-northeast-1" | "ap-northeast-3" => &["jp", "apac"],
            "ap-southeast-2" | "ap-southeast-4" => &["au", "apac"],
            region if region.starts_with("ap-") => &["apac"],
            _ => &["us"],
        }
    }
}

fn dearer(one: &Price, other: &Price) -> bool {
    let (one, other) = (one.standard.base(), other.standard.base());
    one.input > other.input || one.output > other.output
}

#[cfg(test)]
mod tests;
