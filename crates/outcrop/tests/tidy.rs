//! The house keeps its shape: crate edges, module cycles, sizes, file names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crate may depend on which (ARCHITECTURE.md). A crate that is not here may not exist.
const EDGES: [(&str, &[&str]); 9] = [
    ("outcrop-core", &[]),
    ("outcrop-policy", &["core"]),
    ("outcrop-wire", &["core"]),
    ("outcrop-upstream", &["core", "wire"]),
    ("outcrop-store", &["core", "policy"]),
    ("outcrop-proxy", &["core", "wire", "policy", "upstream", "store"]),
    ("outcrop-admin", &["core", "policy", "store"]),
    ("outcrop-lab", &[]),
    ("outcrop", &["core", "wire", "policy", "upstream", "store", "proxy", "admin", "lab"]),
];

/// Dependencies that a layer must not have, whatever its edges say: the pure crates stay pure.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("outcrop-core", &["tokio", "hyper", "tracing", "rmcp", "http"]),
    ("outcrop-policy", &["tokio", "hyper", "tracing", "rmcp", "http"]),
    ("outcrop-wire", &["tokio", "hyper", "tracing", "rmcp", "http"]),
    ("outcrop-admin", &["rmcp"]),
];

/// Longest file of production code, in lines. The style guide asks for 100 to 300.
const FILE_LINES_MAX: usize = 500;
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// File names that say nothing.
const EMPTY_NAMES: [&str; 7] = ["mod", "util", "utils", "helpers", "common", "misc", "types"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(name: &str) -> toml::Table {
    fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = manifest(name);
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

/// All Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<PathBuf> {
    EDGES.iter().flat_map(|(name, _)| rust_files(&crates().join(name).join("src"))).collect()
}

/// Production files: neither tests nor benches.
fn is_production(path: &Path) -> bool {
    !path.components().any(|c| c.as_os_str() == "tests") && path.file_stem().is_some_and(|s| s != "tests")
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let folders: BTreeSet<String> = fs::read_dir(crates())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<String> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders, known, "crates and EDGES differ");
    for (name, allowed) in EDGES {
        let ours: BTreeSet<String> =
            dependencies(name).iter().filter_map(|d| d.strip_prefix("outcrop-").map(str::to_owned)).collect();
        let allowed: BTreeSet<String> = allowed.iter().map(ToString::to_string).collect();
        let strangers: Vec<_> = ours.difference(&allowed).collect();
        assert!(strangers.is_empty(), "{name} must not depend on {strangers:?}");
    }
    for (name, forbidden) in FORBIDDEN {
        let used = dependencies(name);
        let bad: Vec<_> = forbidden.iter().filter(|f| used.contains(**f)).collect();
        assert!(bad.is_empty(), "{name} is to stay free of {bad:?}");
    }
}

/// Where each module of a crate imports from, by the first segment below `crate::`.
fn module_graph(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = crates().join(name).join("src");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files(&root).into_iter().filter(|f| is_production(f)) {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let uses = production
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
        graph.entry(module.clone()).or_default().extend(uses.filter(|m| *m != module));
    }
    let modules: BTreeSet<String> = graph.keys().cloned().collect();
    for uses in graph.values_mut() {
        uses.retain(|m| modules.contains(m));
    }
    graph
}

fn cycle_from(graph: &BTreeMap<String, BTreeSet<String>>, trail: &mut Vec<String>) -> Option<Vec<String>> {
    let here = trail.last().unwrap().clone();
    for next in &graph[&here] {
        if let Some(start) = trail.iter().position(|m| m == next) {
            return Some(trail[start..].to_vec());
        }
        trail.push(next.clone());
        if let Some(found) = cycle_from(graph, trail) {
            return Some(found);
        }
        trail.pop();
    }
    None
}

#[test]
fn modules_have_no_cycles() {
    for (name, _) in EDGES {
        let graph = module_graph(name);
        for module in graph.keys() {
            let found = cycle_from(&graph, &mut vec![module.clone()]);
            assert!(found.is_none(), "{name}: modules import each other in a circle: {found:?}");
        }
    }
}

#[test]
fn files_have_telling_names_and_bearable_sizes() {
    let mut offenders = Vec::new();
    for file in sources() {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        if EMPTY_NAMES.contains(&stem.as_str()) {
            offenders.push(format!("{}: a name that says nothing", file.display()));
        }
        let text = fs::read_to_string(&file).unwrap();
        if !text.starts_with("//!") && is_production(&file) {
            offenders.push(format!("{}: does not begin with what it is for", file.display()));
        }
        let production = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        if is_production(&file) && production > FILE_LINES_MAX {
            offenders.push(format!("{}: {production} lines", file.display()));
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

/// Whether a line begins a function, whatever its visibility and qualifiers.
fn begins_function(line: &str) -> bool {
    let private = line.strip_prefix("pub").map_or(line, |rest| {
        let scoped = rest.strip_prefix('(').and_then(|scope| scope.split_once(')'));
        scoped.map_or(rest, |(_, rest)| rest).trim_start()
    });
    let mut words = private.split(' ');
    words.find(|word| !["const", "async", "unsafe"].contains(word)) == Some("fn")
}

/// Length of every function, by the indentation that rustfmt guarantees.
fn long_functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        if !begins_function(trimmed) {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let end = format!("{indent}}}");
        let length = lines[start..].iter().position(|l| *l == end).map_or(1, |n| n + 1);
        if length > FUNCTION_LINES_MAX {
            found.push((trimmed.to_owned(), length));
        }
    }
    found
}

#[test]
fn a_long_function_is_found_whatever_its_visibility() {
    let qualifiers = ["", "pub ", "pub(crate) ", "pub(super) ", "pub(in crate::a) "];
    for visibility in qualifiers {
        for kind in ["fn", "async fn", "const fn"] {
            let body = "        let _ = 1;\n".repeat(FUNCTION_LINES_MAX);
            let text = format!("impl A {{\n    {visibility}{kind} long() {{\n{body}    }}\n}}\n");
            assert_eq!(long_functions(&text).len(), 1, "{visibility}{kind}");
        }
    }
    assert!(!begins_function("const FN: u8 = 1;") && !begins_function("pub struct Fn;"));
}

#[test]
fn functions_fit_on_a_screen() {
    let mut offenders = Vec::new();
    for file in sources().into_iter().filter(|f| is_production(f)) {
        let text = fs::read_to_string(&file).unwrap();
        for (signature, length) in long_functions(&text) {
            offenders.push(format!("{}: {length} lines: {signature}", file.display()));
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

/// What the page of budgets names as the proof of a promise: a file, one test of a file, or a folder.
#[test]
fn the_tests_that_promises_of_budgets_rest_on_exist() {
    let page = fs::read_to_string(crates().join("../docs/budgets.md")).unwrap();
    let promised = page.split_once("## What is promised").unwrap().1;
    let quoted = promised.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|words| words.contains(".rs") || words.ends_with('/')).collect();
    assert!(named.len() > 25, "{named:?}");
    for name in named {
        let (path, test) = name.split_once("::").map_or((name, None), |(path, test)| (path, Some(test)));
        let place = crates().join(path);
        let content =
            if place.is_dir() { String::new() } else { fs::read_to_string(&place).unwrap_or_default() };
        let is_there = match test {
            Some(test) => content.contains(&format!("fn {test}(")),
            None => place.is_dir() || !content.is_empty(),
        };
        assert!(is_there, "docs/budgets.md names `{name}`, which does not exist");
    }
}
