//! What a person sees: live progress on a terminal, plain lines without one.

use std::io::IsTerminal;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use outcrop_lab::Lab;

use super::story::Scene;
use super::tally::Tally;
use crate::serve::Running;

/// The stage.
pub(crate) struct Show {
    bar: ProgressBar,
    live: bool,
}

impl Show {
    /// Opens it with the addresses.
    pub(crate) fn start(lab: &Lab, running: &Running) -> Self {
        let live = std::io::stderr().is_terminal();
        anstream::eprintln!("gateway   http://{}   (admin http://{})", running.data, running.admin);
        for listener in lab.listeners() {
            anstream::eprintln!("{:<9} {}", listener.name, listener.url);
        }
        anstream::eprintln!();
        let bar = if live { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos:>5} answers  {per_sec:>10}  {msg}") {
            bar.set_style(style);
        }
        Self { bar, live }
    }

    /// The bar that answers move.
    pub(crate) fn progress(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// A scene begins.
    pub(crate) fn scene(&self, scene: &Scene) {
        if self.live {
            self.bar.println(format!("• {}: {}", scene.title, scene.told));
            self.bar.set_message(scene.title);
            self.bar.enable_steady_tick(std::time::Duration::from_millis(120));
        } else {
            anstream::eprintln!("- {}: {}", scene.title, scene.told);
        }
    }

    /// The table at the end. Returns whether every request was answered.
    pub(crate) fn summary(&self, tally: &Tally, lab: &Lab, running: &Running) -> bool {
        self.bar.finish_and_clear();
        let rows = tally.rows();
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header([
            "operation",
            "requests",
            "errors",
            "deadline met",
            "failovers",
            "p50 ms",
            "p99 ms",
            "answered over",
        ]);
        for (name, row) in &rows {
            let paths: Vec<String> = row.paths.iter().map(|(path, n)| format!("{path} {n}")).collect();
            table.add_row([
                name.clone(),
                row.requests.to_string(),
                row.errors.to_string(),
                format!("{:.1} %", 100.0 * row.met as f64 / row.requests.max(1) as f64),
                row.failovers.to_string(),
                format!("{:.1}", row.ms_at(50.0)),
                format!("{:.1}", row.ms_at(99.0)),
                paths.join(", "),
            ]);
        }
        anstream::println!("{table}");
        bill(lab, running);
        for (name, row) in rows.iter().filter(|(_, row)| row.errors > 0) {
            anstream::println!("first error of {name}: {}", row.first_error.as_deref().unwrap_or("unknown"));
        }
        rows.iter().all(|(_, row)| row.errors == 0)
    }
}

/// What to try next.
pub(crate) fn invitation(lab: &Lab, running: &Running) {
    let fra = lab.control_address();
    anstream::println!(
        "\nStill running; Ctrl-C ends it. Three things to try:\n\n\
             1. ask, and see the way it took in the headers\n   \
             curl -i http://{data}/v1/chat/completions -d '{{\"model\":\"sonnet\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n\n\
             2. take a region down, then ask again with -H 'x-outcrop-operation: infrastructure'\n   \
             curl -X PUT http://{fra}/targets/fra/script -d '{{\"down\":true}}'\n\n\
             3. read why a request went where it went\n   \
             curl http://{admin}/admin/v1/decisions?limit=1",
        data = running.data,
        admin = running.admin,
    );
}

/// The upstreams' own account beside the gateway's.
fn bill(lab: &Lab, running: &Running) {
    let totals = lab.totals();
    let ledger = running.gateway.ledger().totals();
    anstream::println!(
        "\nbilling record of the upstreams: {} requests seen, {} executed, {} input and {} output tokens\n\
         gateway's ledger: {} attempts settled, {} with unknown cost, {} pending",
        totals.requests,
        totals.executed,
        totals.input_tokens,
        totals.output_tokens,
        ledger.settled,
        ledger.suspense,
        ledger.pending,
    );
}
