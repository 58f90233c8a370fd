//! What was spent, by whom and for what.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use outcrop_admin::budgets::SpendQuery;
use outcrop_admin::stops::NotDone;
use outcrop_policy::Attribution;
use outcrop_policy::scope::{FACETS, Facet};
use outcrop_store::journal::{ANSWER_ROWS_MAX, Attributed, Group};
use outcrop_store::{Administrator, Store};
use serde_json::{Value, json};

use super::failed;
use crate::clock::time;

/// Answers a question about spending.
pub(super) async fn of(
    store: &Store,
    query: &SpendQuery,
    who: &Administrator,
    now_ms: i64,
) -> Result<Value, NotDone> {
    let words: Vec<&str> = query.by.as_deref().unwrap_or("key").split(',').map(str::trim).collect();
    let groups = words.iter().map(|word| group(word)).collect::<Result<Vec<_>, _>>()?;
    let from_ms = query.from.as_deref().map_or(Ok(0), |text| moment(text, false))?;
    let to_ms = query.to.as_deref().map_or(Ok(now_ms.saturating_add(1)), |text| moment(text, true))?;
    // Whoever has bounds is shown what lies within them, so their facets are asked for as well.
    let mut facets: Vec<Facet> = who.manages.iter().flat_map(outcrop_policy::Scope::facets).collect();
    facets.sort_unstable();
    facets.dedup();
    let asked = groups.iter().copied().chain(facets.iter().map(|facet| Group::Facet(*facet))).collect();
    let found = store.attribution(asked, from_ms, to_ms).await.map_err(|e| failed(&e))?;
    let cut = found.len() >= ANSWER_ROWS_MAX;
    let mut rows: BTreeMap<Vec<String>, Attributed> = BTreeMap::new();
    for mut row in found {
        let values = row.group.split_off(groups.len().min(row.group.len()));
        if within(who, &facets, &values) {
            add(&mut rows, row);
        }
    }
    let mut rows: Vec<Attributed> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.posted_nusd.saturating_add(row.suspense_nusd)));
    let shown: Vec<Value> = rows.iter().map(|row| shown(row, &words)).collect();
    Ok(json!({"by": words, "from": time(from_ms), "to": time(to_ms), "rows": shown, "more": cut}))
}

fn group(word: &str) -> Result<Group, NotDone> {
    let facet = FACETS.into_iter().find(|facet| facet.label() == word && *facet != Facet::Region);
    match word {
        "day" => Ok(Group::Day),
        "target" => Ok(Group::Target),
        _ => facet.map(Group::Facet).ok_or_else(|| {
            let known = "org, team, key, user, run, model, path, operation, tool, target, day";
            NotDone::new(StatusCode::BAD_REQUEST, format!("`{word}` is nothing to group by; known: {known}"))
        }),
    }
}

/// A day in UTC or a moment; as an end, a day counts whole.
fn moment(text: &str, is_end: bool) -> Result<i64, NotDone> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let day = text.parse::<Date>().and_then(|day| if is_end { day.tomorrow() } else { Ok(day) });
    let zoned = day.and_then(|day| day.to_zoned(TimeZone::UTC));
    zoned.map(|zoned| zoned.timestamp().as_millisecond()).map_err(|_| {
        let text = format!("`{text}` is not a time; write it as 2026-01-31 or 2026-01-31T12:00:00Z");
        NotDone::new(StatusCode::BAD_REQUEST, text)
    })
}

fn within(who: &Administrator, facets: &[Facet], values: &[String]) -> bool {
    let mut whose = Attribution::default();
    for (facet, value) in facets.iter().zip(values) {
        let place = match facet {
            Facet::Org => &mut whose.org,
            Facet::Team => &mut whose.team,
            Facet::Key => &mut whose.key,
            Facet::User => &mut whose.user,
            Facet::Run => &mut whose.run,
            Facet::Model => &mut whose.model,
            Facet::Path => &mut whose.path,
            Facet::Region => &mut whose.region,
            Facet::Operation => &mut whose.operation,
            Facet::Tool => &mut whose.tool,
        };
        *place = value.as_str().into();
    }
    who.manages.is_empty() || who.manages.iter().any(|own| own.matches(&whose))
}

fn add(rows: &mut BTreeMap<Vec<String>, Attributed>, row: Attributed) {
    let Some(sum) = rows.get_mut(&row.group) else {
        rows.insert(row.group.clone(), row);
        return;
    };
    for (to, from) in [
        (&mut sum.attempts, row.attempts),
        (&mut sum.posted_nusd, row.posted_nusd),
        (&mut sum.suspense_nusd, row.suspense_nusd),
        (&mut sum.estimated_nusd, row.estimated_nusd),
        (&mut sum.input_tokens, row.input_tokens),
        (&mut sum.output_tokens, row.output_tokens),
    ] {
        *to = to.saturating_add(from);
    }
}

fn shown(row: &Attributed, words: &[&str]) -> Value {
    let mut shown = json!(row);
    if let Value::Object(fields) = &mut shown {
        fields.remove("group");
        for (word, value) in words.iter().zip(&row.group) {
            let day = || value.parse().ok().and_then(time).map(|at| at.chars().take(10).collect::<String>());
            let value = if *word == "day" { day().unwrap_or_default() } else { value.clone() };
            fields.insert((*word).to_owned(), value.into());
        }
    }
    shown
}
