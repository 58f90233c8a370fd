//! The register's documents: an immutable view of all of them, and how they are stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::StoreError;
use crate::session::{Row, Session};

/// All documents at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// Counts up with every change of any document.
    pub revision: u64,
    /// Whether there are documents that cannot be read. Whoever relies on the absence of one must take
    /// it for present.
    pub unreadable: bool,
    pub(crate) bodies: BTreeMap<(String, String), Arc<str>>,
}

impl Documents {
    /// Id and body of every document of a kind, in the order of the ids.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let first = (kind.to_owned(), String::new());
        self.bodies
            .range(first..)
            .take_while(move |((of, _), _)| of == kind)
            .map(|((_, id), body)| (id.as_str(), &**body))
    }

    /// One document.
    pub fn get(&self, kind: &str, id: &str) -> Option<&str> {
        self.bodies.get(&(kind.to_owned(), id.to_owned())).map(|body| &**body)
    }
}

/// All documents as they are stored.
pub(crate) async fn load(session: &Session<'_>) -> Result<Documents, StoreError> {
    let mut documents = Documents { revision: revision(session).await?, ..Documents::default() };
    for row in session.query("SELECT kind, id, body FROM document", Vec::new()).await? {
        match read(row) {
            Ok((name, body)) => {
                documents.bodies.insert(name, body);
            }
            Err(_) => documents.unreadable = true,
        }
    }
    Ok(documents)
}

fn read(mut row: Row) -> Result<((String, String), Arc<str>), StoreError> {
    Ok(((row.text()?.to_string(), row.text()?.to_string()), row.text()?))
}

/// The revision in force.
pub(crate) async fn revision(session: &Session<'_>) -> Result<u64, StoreError> {
    let mut rows = session.query("SELECT number FROM meta WHERE name = 'revision'", Vec::new()).await?;
    let number = rows.pop().map_or(Ok(0), |mut row| row.int())?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// Writes a document; with no body it is removed. Gives back all of them.
pub(crate) async fn change(
    session: &Session<'_>,
    kind: &str,
    id: &str,
    body: Option<&str>,
) -> Result<Documents, StoreError> {
    // First, so that changes come one after the other.
    session.run("UPDATE meta SET number = number + 1 WHERE name = 'revision'", Vec::new()).await?;
    let revision = i64::try_from(revision(session).await?).unwrap_or(i64::MAX);
    let mut values = vec![kind.into(), id.into()];
    let sql = if let Some(body) = body {
        values.extend([body.into(), revision.into()]);
        "INSERT INTO document (kind, id, body, revision) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, revision = excluded.revision"
    } else {
        "DELETE FROM document WHERE kind = $1 AND id = $2"
    };
    session.run(sql, values).await?;
    load(session).await
}
