//! The budgets in force: the rows of the file, with the limits that operators have set over them.
//!
//! A limit that was set is a document of the register, so it outlives the process and holds on every
//! replica. A budget that the file does not know cannot be made this way.

use std::sync::{Arc, Mutex, PoisonError};

use outcrop_policy::Ledger;
use outcrop_policy::ledger::BudgetSpec;
use outcrop_store::{Documents, Register, StoreError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The kind of these documents.
const KIND: &str = "budget";

/// A limit that was set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Override {
    /// In units of the budget's dimension.
    pub(crate) limit: i64,
    /// By whom.
    pub(crate) by: String,
    /// When, in milliseconds since the epoch.
    pub(crate) at_ms: i64,
}

/// A budget of the file, and what is set over it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// As the file says.
    pub(crate) file: BudgetSpec,
    /// What was set.
    pub(crate) set: Option<Override>,
}

impl Row {
    /// The budget in force. The carve-out keeps its share of the limit.
    pub(crate) fn spec(&self) -> BudgetSpec {
        let Some(set) = &self.set else { return self.file.clone() };
        let share = i128::from(self.file.carve_out) * i128::from(set.limit);
        let carve_out = i64::try_from(share / i128::from(self.file.limit.max(1))).unwrap_or(0);
        BudgetSpec { limit: set.limit, carve_out: carve_out.min(set.limit), ..self.file.clone() }
    }
}

/// The budgets in force. Clones share them.
#[derive(Clone)]
pub(crate) struct Limits {
    ledger: Arc<Ledger>,
    register: Register,
    // Held while the ledger is told, so that the last word is the latest; never across an await.
    file: Arc<Mutex<Vec<BudgetSpec>>>,
}

/// The budgets of a file with the limits that were set over them.
pub(crate) fn in_force(file: &[BudgetSpec], documents: &Documents) -> Vec<BudgetSpec> {
    file.iter().map(|spec| row(spec, documents).spec()).collect()
}

fn row(spec: &BudgetSpec, documents: &Documents) -> Row {
    let set = documents.get(KIND, &spec.id).and_then(|body| match serde_json::from_str(body) {
        Ok(set) => Some(set),
        Err(error) => {
            tracing::error!(budget = &*spec.id, %error, "a limit that was set cannot be read; the file's holds");
            None
        }
    });
    Row { file: spec.clone(), set }
}

impl Limits {
    /// Over the budgets of a file, which the ledger has taken up with `in_force`.
    pub(crate) fn new(ledger: Arc<Ledger>, register: Register, file: Vec<BudgetSpec>) -> Self {
        Self { ledger, register, file: Arc::new(Mutex::new(file)) }
    }

    /// Every budget of the file.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let documents = self.register.documents();
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.iter().map(|spec| row(spec, &documents)).collect()
    }

    /// Takes up the budgets of another file.
    pub(crate) fn replace(&self, budgets: Vec<BudgetSpec>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        *file = budgets;
        self.ledger.configure(in_force(&file, &self.register.documents()));
    }

    /// Sets a limit, or takes back what was set. It is durable and in force when this returns `Ok`.
    pub(crate) async fn set(&self, id: &str, set: Option<&Override>) -> Result<(), StoreError> {
        match set {
            Some(set) => {
                let body = serde_json::to_string(set).map_err(|e| StoreError::Unreadable(e.to_string()))?;
                self.register.put(KIND, id, &body).await?;
            }
            None => self.register.remove(KIND, id).await?,
        }
        self.apply();
        Ok(())
    }

    fn apply(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = in_force(&file, &self.register.documents());
        let budgets = self.ledger.budgets();
        let same = budgets.len() == wanted.len() && budgets.iter().zip(&wanted).all(|(a, b)| **a == *b);
        if !same {
            self.ledger.configure(wanted);
        }
    }

    /// Takes up every limit that is set here or on another replica, until `stop`.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut watching = self.register.watch();
        loop {
            watching.borrow_and_update();
            self.apply();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = watching.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(text: &str) -> Vec<BudgetSpec> {
        let text = format!(
            "[auth]\nmode=\"open\"\n[[path]]\nname=\"x\"\nkind=\"openai\"\nurl=\"http://127.0.0.1:1/v1\"\n\
             [[model]]\nname=\"m\"\ntargets=[{{path=\"x\",id=\"m\"}}]\n[[price]]\nmodel=\"m\"\nfree=true\n{text}"
        );
        crate::config::parse("outcrop.toml", &text).unwrap().budgets
    }

    #[tokio::test]
    async fn a_limit_that_was_set_holds_over_the_file_and_keeps_the_share_of_the_carve_out() {
        let file = budgets("[[budget]]\nscope=\"key:*\"\nlimit=\"100 USD\"\n");
        let register = Register::in_memory();
        let ledger = Arc::new(Ledger::new(file.clone(), outcrop_policy::ledger::LedgerClock::default(), 1));
        let limits = Limits::new(Arc::clone(&ledger), register.clone(), file.clone());
        let set = Override { limit: 200_000_000_000, by: "ada".into(), at_ms: 1 };
        limits.set(&file[0].id, Some(&set)).await.unwrap();
        let in_force = |ledger: &Ledger| (ledger.budgets()[0].limit, ledger.budgets()[0].carve_out);
        assert_eq!(in_force(&ledger), (200_000_000_000, 10_000_000_000));
        limits.replace(budgets("[[budget]]\nscope=\"key:*\"\nlimit=\"50 USD\"\ncarve_out=\"10%\"\n"));
        assert_eq!(in_force(&ledger), (200_000_000_000, 20_000_000_000), "a reload keeps it");
        limits.set(&file[0].id, None).await.unwrap();
        assert_eq!(in_force(&ledger), (50_000_000_000, 5_000_000_000));
        register.put(KIND, &file[0].id, "{").await.unwrap();
        assert_eq!(limits.rows()[0].spec().limit, 50_000_000_000, "what cannot be read does not count");
    }
}
