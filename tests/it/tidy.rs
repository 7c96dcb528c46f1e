//! The layers of DESIGN.md §3, held by a test: it reads every path in `src/` outside `cfg(test)` and fails with the
//! sentence of the rule that a path breaks.
//!
//! A path is what stands between other tokens as `a::b::c`, the branches of `use` trees included; `super` and `self`
//! are resolved by the file that they stand in. Comments and literals are no code and never count.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each module of the crate and the others that it may use. Below it: `main → cli → actors → http → settings →
/// providers → ids`; anyone → `telemetry`; `cli`, `actors` → `state`; `actors` → `service_manager`; `signals` → `actors`.
const LAYERS: [(&str, &[&str]); 12] = [
    ("main", &["cli", "actors", "http", "settings", "providers", "ids", "telemetry", "state", "guard", "signals"]),
    ("cli", &["actors", "http", "settings", "providers", "ids", "telemetry", "state", "guard", "signals"]),
    ("actors", &["http", "settings", "providers", "ids", "telemetry", "state", "guard", "service_manager"]),
    ("http", &["settings", "providers", "ids", "telemetry"]),
    ("settings", &["providers", "ids", "telemetry"]),
    ("providers", &["ids", "telemetry"]),
    ("ids", &["telemetry"]),
    ("signals", &["actors", "ids", "telemetry"]),
    ("state", &["ids", "telemetry"]),
    ("guard", &["ids", "telemetry"]),
    ("service_manager", &["telemetry"]),
    ("telemetry", &["ids"]),
];

/// What the paths of a folder may not be.
struct Rule {
    /// A prefix of the file's path below `src/`.
    folder: &'static str,
    sentence: &'static str,
    is_broken_by: fn(&[String]) -> bool,
}

const RULES: [Rule; 5] = [
    Rule {
        folder: "providers/",
        sentence: "providers know no actix, awc, tokio, files, environment or clocks: they decide, others act",
        is_broken_by: |path| {
            is_of_runtime(path)
                || reads_clock(path)
                || is_of_system(path, &["fs", "env", "process", "net", "thread"])
                || is_of_crate(path, &["getrandom", "rustix", "socket2"])
        },
    },
    Rule {
        folder: "http/",
        sentence: "http sees no Addr: requests travel by a bounded channel and a oneshot",
        is_broken_by: |path| path.iter().any(|segment| segment == "Addr"),
    },
    Rule {
        folder: "actors/",
        sentence: "actors may name the providers' domain types, never `wire`",
        is_broken_by: names_wire,
    },
    Rule {
        folder: "settings/",
        sentence: "settings may name the providers' domain types, never `wire`",
        is_broken_by: names_wire,
    },
    Rule {
        folder: "actors/supervision",
        sentence: "actors/supervision names no actix, no tokio, no clock and no randomness: these come in as arguments",
        is_broken_by: |path| is_of_runtime(path) || reads_clock(path) || is_of_crate(path, &["getrandom"]),
    },
];

#[test]
fn every_path_keeps_to_its_layer() {
    let mut faults = String::new();
    for file in source_files() {
        for (line, sentence) in faults_of(&file, &read(&file)) {
            let _ = writeln!(faults, "src/{file}:{line}: {sentence}");
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn every_file_opens_with_what_it_is() {
    let silent: Vec<_> = source_files().into_iter().filter(|file| !read(file).starts_with("//!")).collect();
    assert!(silent.is_empty(), "these files do not open with `//!`: {silent:?}");
}

#[test]
fn nothing_is_left_to_do() {
    let mut faults = String::new();
    for file in source_files() {
        for pair in lex(&read(&file)).windows(2) {
            let [Token { line, kind: Kind::Word(word) }, Token { kind: Kind::Mark('!'), .. }] = pair else { continue };
            if matches!(&**word, "todo" | "unimplemented" | "dbg") {
                let _ = writeln!(faults, "src/{file}:{line}: `{word}!` does not ship");
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

fn is_of_crate(path: &[String], crates: &[&str]) -> bool {
    path.len() > 1 && crates.contains(&&*path[0])
}

fn is_of_runtime(path: &[String]) -> bool {
    let root = &path[0];
    let family = ["actix", "tokio", "awc"]
        .iter()
        .any(|name| root.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')));
    path.len() > 1 && family
}

fn reads_clock(path: &[String]) -> bool {
    path.windows(2).any(|pair| matches!(&*pair[0], "Instant" | "SystemTime") && pair[1] == "now")
        || path.iter().any(|segment| segment == "SystemTime")
}

fn is_of_system(path: &[String], modules: &[&str]) -> bool {
    path.len() > 1 && path[0] == "std" && modules.contains(&&*path[1])
}

fn names_wire(path: &[String]) -> bool {
    path.len() > 1 && path.iter().any(|segment| segment == "wire")
}

/// The files below `src/`, as paths with `/`, without those that are test modules.
fn source_files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => files.push(path),
                _ => {}
            }
        }
    }
    let tests: Vec<PathBuf> = files.iter().flat_map(|file| test_module_files(file)).collect();
    files.retain(|file| !tests.iter().any(|test| file.starts_with(test)));
    let mut files: Vec<_> = files.iter().map(|file| relative(file, &root)).collect();
    files.sort();
    files
}

fn relative(file: &Path, root: &Path) -> String {
    let steps: Vec<_> = file.strip_prefix(root).unwrap().iter().map(|step| step.to_str().unwrap()).collect();
    steps.join("/")
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Where the modules lie that `file` declares for tests only: `tests.rs` and the folder `tests`.
fn test_module_files(file: &Path) -> Vec<PathBuf> {
    let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") | None => file.parent().unwrap().to_owned(),
        Some(stem) => file.with_file_name(stem),
    };
    let (_, modules) = without_tests(lex(&std::fs::read_to_string(file).unwrap()));
    modules.iter().flat_map(|module| [folder.join(format!("{module}.rs")), folder.join(module)]).collect()
}

/// Line and sentence of each rule that a path of the file breaks.
fn faults_of(file: &str, text: &str) -> Vec<(usize, String)> {
    let (tokens, _) = without_tests(lex(text));
    let module = module_of(file);
    let layer = module.first().map_or(file.trim_end_matches(".rs"), String::as_str).to_owned();
    let mut faults = Vec::new();
    for (line, path) in paths(&tokens) {
        let path = resolve(path, &module);
        faults.extend(layer_fault(&layer, &path).map(|sentence| (line, sentence)));
        let broken = RULES.iter().filter(|rule| file.starts_with(rule.folder) && (rule.is_broken_by)(&path));
        faults.extend(broken.map(|rule| (line, format!("{}: `{}`", rule.sentence, path.join("::")))));
    }
    faults
}

/// The arrows between the crate's own modules. `lib.rs` only declares them.
fn layer_fault(layer: &str, path: &[String]) -> Option<String> {
    let [root, target, ..] = path else { return None };
    if root != "crate" || layer == "lib" || target == layer || !LAYERS.iter().any(|(name, _)| name == target) {
        return None;
    }
    match LAYERS.iter().find(|(name, _)| *name == layer) {
        None => Some(format!("`{layer}` stands in no layer yet: give it its place in tests/it/tidy.rs")),
        Some((_, allowed)) if allowed.contains(&&**target) => None,
        Some((_, allowed)) => {
            let allowed = allowed.join(", ");
            Some(format!("`{layer}` may use {allowed}, but not `{}`", path.join("::")))
        }
    }
}

/// `actors/gateway.rs` is the module `actors::gateway`.
fn module_of(file: &str) -> Vec<String> {
    let steps = file.trim_end_matches(".rs").split('/').map(str::to_owned);
    let mut steps: Vec<_> = steps.collect();
    if steps.last().is_some_and(|last| matches!(&**last, "mod" | "lib" | "main")) {
        steps.pop();
    }
    steps
}

/// A path from the crate's root or from another crate.
fn resolve(path: Vec<String>, module: &[String]) -> Vec<String> {
    let root = path[0].as_str();
    if !matches!(root, "crate" | "claudette" | "self" | "super") || path.len() < 2 {
        return path;
    }
    let ups = path.iter().take_while(|step| *step == "super").count();
    let rest = path[ups.max(1)..].iter().cloned();
    let base = match root {
        "self" | "super" => &module[..module.len().saturating_sub(ups)],
        _ => &[],
    };
    std::iter::once("crate".to_owned()).chain(base.iter().cloned()).chain(rest).collect()
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    line: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Word(String),
    PathSeparator,
    Mark(char),
}

/// Words, `::` and single marks; comments, literals and lifetimes are left out.
fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    /// Takes what stands first; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(length_of_block_comment(self.rest));
        } else if let Some(length) = length_of_string(self.rest) {
            self.skip(length);
        } else if first == '\'' {
            self.skip(length_of_quote(self.rest));
        } else if self.rest.starts_with("::") {
            self.push(Kind::PathSeparator, 2);
        } else if first.is_alphanumeric() || first == '_' {
            self.word();
        } else {
            let kind = Kind::Mark(first);
            match first.is_whitespace() {
                true => self.skip(first.len_utf8()),
                false => self.push(kind, first.len_utf8()),
            }
        }
        true
    }

    fn word(&mut self) {
        let text = self.rest.strip_prefix("r#").unwrap_or(self.rest);
        let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let word = text[..length].to_owned();
        let taken = self.rest.len() - text.len() + length;
        match word.starts_with(|c: char| c.is_ascii_digit()) {
            true => self.skip(taken),
            false => self.push(Kind::Word(word), taken),
        }
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { line: self.line, kind });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn length_of_block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A string literal with any prefix, raw ones included.
fn length_of_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            rest.trim_start_matches('#').starts_with('"') && {
                let raw = prefix.ends_with('r');
                raw || rest.starts_with('"')
            }
        })
    })?;
    let body = &text[prefix.len()..];
    if !prefix.ends_with('r') {
        return Some(prefix.len() + length_of_escaped(body, '"'));
    }
    let hashes = body.len() - body.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = prefix.len() + hashes + 1;
    Some(text[start..].find(&end).map_or(text.len(), |length| start + length + end.len()))
}

/// From one quote to the next that is not escaped.
fn length_of_escaped(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// A character, or a lifetime.
fn length_of_quote(text: &str) -> usize {
    let mut characters = text.chars().skip(1);
    let is_character = match (characters.next(), characters.next()) {
        (Some('\\'), _) | (_, Some('\'')) => true,
        (_, _) => false,
    };
    if is_character {
        return length_of_escaped(text, '\'');
    }
    let name = &text[1..];
    1 + name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())
}

/// The tokens outside of items for tests only, and the names of those that are modules in files of their own.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let attribute = length_of_attribute(&tokens[at..]);
        let is_test = is_test_attribute(&tokens[at..at + attribute]);
        if is_test && tokens.get(at + 1).is_some_and(|token| token.kind == Kind::Mark('!')) {
            return (kept, modules);
        }
        if is_test {
            at += attribute;
            let item = length_of_item(&tokens[at..]);
            modules.extend(module_in_file(&tokens[at..at + item]));
            at += item;
        } else {
            let taken = attribute.max(1);
            kept.extend_from_slice(&tokens[at..at + taken]);
            at += taken;
        }
    }
    (kept, modules)
}

/// `#[…]` or `#![…]` at the front; 0: none.
fn length_of_attribute(tokens: &[Token]) -> usize {
    let mark = |at: usize, c: char| tokens.get(at).is_some_and(|token| token.kind == Kind::Mark(c));
    let open = if mark(1, '!') { 2 } else { 1 };
    if mark(0, '#') && mark(open, '[') { open + length_of_group(&tokens[open..]) } else { 0 }
}

/// From an opening bracket to the one that closes it.
fn length_of_group(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let words: Vec<_> = tokens.iter().filter_map(word).collect();
    words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not")
}

/// An item with its further attributes: to its `;`, or to the end of its `{…}`.
fn length_of_item(tokens: &[Token]) -> usize {
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Mark(';') => return at + 1,
            Kind::Mark('{') => return at + length_of_group(&tokens[at..]),
            Kind::Mark('}' | ')' | ']') => return at,
            Kind::Mark('(' | '[') => at += length_of_group(&tokens[at..]),
            Kind::Mark(_) | Kind::Word(_) | Kind::PathSeparator => at += 1,
        }
    }
    at
}

fn module_in_file(item: &[Token]) -> Option<String> {
    let at = item.iter().position(|token| word(token) == Some("mod"))?;
    let ends = item.get(at + 2).is_some_and(|token| token.kind == Kind::Mark(';'));
    item.get(at + 1).and_then(word).filter(|_| ends).map(str::to_owned)
}

fn word(token: &Token) -> Option<&str> {
    match &token.kind {
        Kind::Word(word) => Some(word),
        Kind::PathSeparator | Kind::Mark(_) => None,
    }
}

/// Every path with its line; a word alone is a path of one segment.
fn paths(tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at].kind {
            // `use<'a>` in a bound names what a type captures and imports nothing.
            Kind::Word(keyword) if keyword == "use" && captures(tokens, at) => at += 1,
            Kind::Word(keyword) if keyword == "use" => at = use_tree(tokens, at + 1, &[], &mut paths),
            Kind::Word(_) => at = plain_path(tokens, at, &mut paths),
            Kind::PathSeparator | Kind::Mark(_) => at += 1,
        }
    }
    paths
}

fn captures(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.kind == Kind::Mark('<'))
}

fn plain_path(tokens: &[Token], start: usize, paths: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut segments = Vec::new();
    let mut at = start;
    while let Some(segment) = tokens.get(at).and_then(word) {
        segments.push(segment.to_owned());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.kind != Kind::PathSeparator) {
            break;
        }
        at += 1;
    }
    paths.push((tokens[start].line, segments));
    at
}

/// One tree after `use` or inside `{…}`; returns where it ends.
fn use_tree(tokens: &[Token], start: usize, prefix: &[String], paths: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = start;
    let line = tokens.get(start).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(keyword) if keyword == "as" => at += 2,
            Kind::Word(segment) => {
                path.push(segment.clone());
                at += 1;
            }
            Kind::PathSeparator => at += 1,
            Kind::Mark('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.kind != Kind::Mark('}')) {
                    at = use_tree(tokens, at, &path, paths);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.kind == Kind::Mark(',')));
                }
                return at + 1;
            }
            Kind::Mark(',' | ';' | '}') => break,
            Kind::Mark(_) => at += 1,
        }
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if !path.is_empty() {
        paths.push((line, path));
    }
    at
}

#[test]
fn the_rules_see_paths_in_every_guise() {
    let broken = [
        ("providers/sse.rs", "use tokio::time::sleep;"),
        ("providers/sse.rs", "use {serde::Serialize, std::{fmt, fs::{self, File}}};"),
        ("providers/sse.rs", "fn f() { let t = std::time::Instant::now(); }"),
        ("providers/sse.rs", "use std::time::Instant; fn f() { Instant::now(); }"),
        ("providers/sse.rs", "#[actix_web::main] async fn f() {}"),
        ("providers/sse.rs", "#[cfg(not(test))] use std::env;"),
        ("providers/sse.rs", "#[cfg(test)] use x::{a, b}; use crate::settings::Settings;"),
        ("providers/sse.rs", "fn f<'a>(x: &'a str) { let c = '\"'; crate::http::f() } // \""),
        ("providers/openai/wire/mod.rs", "use super::super::super::actors::messages;"),
        ("http/gateway/mod.rs", "use actix::prelude::{Actor, Addr as Address};"),
        ("http/access.rs", "fn f(a: Addr<X>) {}"),
        ("http/access.rs", "use crate::state::Folder;"),
        ("actors/auth.rs", "use crate::providers::codex::wire::AuthFile;"),
        ("settings/mod.rs", "use crate::providers::{ids, openai::wire::request};"),
        ("actors/supervision/plan.rs", "fn f() { let now = Instant::now(); }"),
        ("actors/supervision.rs", "use actix::Message;"),
        ("ids.rs", "use crate::providers::sse;"),
        ("state.rs", "use crate::actors::X;"),
        ("main.rs", "mod x; use claudette::unheard_of; fn f() { std::fs::x() }"),
    ];
    let (last, broken) = broken.split_last().unwrap();
    for (file, text) in broken {
        assert!(!faults_of(file, text).is_empty(), "{file}: {text}");
    }
    assert_eq!(faults_of(last.0, last.1), [], "main may do anything that is below it");
}

#[test]
fn the_rules_pass_over_what_is_no_code_or_below() {
    let kept = [
        (
            "providers/sse.rs",
            "//! tokio::spawn\n/* std::fs /* x */ */ const A: &str = \"crate::http\"; const B: &str = r#\"std::\"env\"#;",
        ),
        ("providers/sse.rs", "#[cfg(test)]\n#[allow(x)]\nmod tests { use std::fs; fn f() { std::env::var(\"x\"); } }"),
        ("providers/sse.rs", "#[cfg(test)] mod tests;\nuse std::time::Duration;"),
        ("providers/sse.rs", "#![cfg(test)] use std::fs;"),
        (
            "providers/sse.rs",
            "use crate::ids::ModelId; use super::profile; use std::collections::BTreeMap; let tokio = 1;",
        ),
        (
            "http/upstream/mod.rs",
            "use std::net::SocketAddr; use tokio::net; use crate::providers::openai::wire::request;",
        ),
        (
            "actors/mod.rs",
            "use crate::state; use crate::http::gateway; use actix::Addr; let wire_api = 1; let wire = 2;",
        ),
        ("cli/serve.rs", "use crate::{actors::messages, state, signals, telemetry};"),
        ("lib.rs", "pub mod ids; pub mod telemetry;"),
        ("lib.rs", "fn f() -> impl Iterator<Item = u8> + use<'_> { g(); h() }"),
    ];
    for (file, text) in kept {
        assert_eq!(faults_of(file, text), [], "{file}: {text}");
    }
}
