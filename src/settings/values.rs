//! The walk's single values: each method checks one shape and gives the value in its settled form, or leaves a fault.

use std::path::PathBuf;

use config::Value as Settled;
use toml::de::DeValue;
use url::Url;

use super::duration;
use super::fault::{backticked, nearest};
use super::schema::Shape;
use super::walk::{Typed, Walk};

impl Walk<'_> {
    pub(super) fn boolean(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let DeValue::Boolean(truth) = value.get_ref() else {
            self.wrong_type(path, value, "true or false");
            return None;
        };
        Some(Settled::from(*truth))
    }

    pub(super) fn string<'v>(&mut self, path: &str, value: &'v Typed<'_>) -> Option<&'v str> {
        self.string_such_as(path, value, "a string")
    }

    fn string_such_as<'v>(&mut self, path: &str, value: &'v Typed<'_>, wanted: &str) -> Option<&'v str> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(path, value, wanted);
            return None;
        };
        if text.contains('\0') {
            // Paths, arguments and variables cannot hold one; refused here, it cannot fail a start later.
            self.fault(value.span().start, format!("`{path}` must not hold a NUL character"));
            return None;
        }
        Some(text)
    }

    pub(super) fn filled<'v>(&mut self, path: &str, value: &'v Typed<'_>) -> Option<&'v str> {
        let text = self.string(path, value)?;
        if text.trim().is_empty() {
            self.fault(value.span().start, format!("`{path}` must not be empty"));
            return None;
        }
        Some(text)
    }

    pub(super) fn choice(&mut self, path: &str, value: &Typed<'_>, words: &[&str]) -> Option<Settled> {
        let text = self.string(path, value)?;
        if !words.contains(&text) {
            self.not_one_of(path, value, text, words);
            return None;
        }
        Some(Settled::from(text))
    }

    fn not_one_of(&mut self, path: &str, value: &Typed<'_>, text: &str, words: &[&str]) {
        let hint = nearest(text, words.iter().copied());
        self.fault(value.span().start, format!("`{path}` cannot be \"{text}\": {hint}"));
    }

    /// Only the Responses dialect is spoken today; people coming from other tools write `chat`.
    pub(super) fn wire_api(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        if self.string(path, value)? == "chat" {
            let message = format!(
                "`{path}` = \"chat\" is not supported: the server must offer /v1/responses, \
                 and `wire_api` be \"responses\""
            );
            self.fault(value.span().start, message);
            return None;
        }
        self.choice(path, value, &["responses"])
    }

    pub(super) fn store_override(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        match value.get_ref() {
            DeValue::Boolean(false) => Some(Settled::from("false")),
            DeValue::String(text) if text == "omit" => Some(Settled::from("omit")),
            _ => {
                self.fault(value.span().start, format!("`{path}` must be \"omit\" or false"));
                None
            }
        }
    }

    pub(super) fn setting_sources(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        const WORDS: [&str; 3] = ["user", "project", "local"];
        let text = self.string(path, value)?;
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        for word in words {
            if !WORDS.contains(&word) {
                self.not_one_of(path, value, word, &WORDS);
                return None;
            }
        }
        Some(Settled::from(text))
    }

    pub(super) fn count(&mut self, path: &str, value: &Typed<'_>, least: u64, most: u64) -> Option<Settled> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(path, value, "a whole number");
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if (least..=most).contains(&number) => Some(Settled::from(number)),
            _ => {
                self.fault(value.span().start, format!("`{path}` must be a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// Leaves as milliseconds.
    pub(super) fn duration(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        const WANTED: &str = "a duration such as \"250ms\", \"10s\", \"5m\", \"2h\" or \"30d\"";
        let text = self.string_such_as(path, value, WANTED)?;
        let milliseconds = duration::parse(text).and_then(|duration| u64::try_from(duration.as_millis()).ok());
        if milliseconds.is_none() {
            self.fault(value.span().start, format!("`{path}` must be {WANTED}, above zero, not \"{text}\""));
        }
        milliseconds.map(Settled::from)
    }

    /// Leaves without a slash at its end. The text is not repeated in faults: it may hold a password.
    pub(super) fn base_url(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let text = self.string(path, value)?;
        match checked_base_url(text) {
            Ok(url) => Some(Settled::from(url.as_str().trim_end_matches('/'))),
            Err(problem) => {
                self.fault(value.span().start, format!("`{path}` {problem}"));
                None
            }
        }
    }

    pub(super) fn path(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let text = self.string(path, value)?;
        if text.is_empty() {
            return Some(Settled::from(""));
        }
        let settled = self.settled_path(path, value, text)?;
        Some(Settled::from(settled.to_string_lossy().into_owned()))
    }

    pub(super) fn program(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let text = self.filled(path, value)?;
        if text.contains('/') || text.starts_with('~') { self.path(path, value) } else { Some(Settled::from(text)) }
    }

    /// `~` becomes the home folder, and a relative path starts at the config file's folder.
    fn settled_path(&mut self, path: &str, value: &Typed<'_>, text: &str) -> Option<PathBuf> {
        let Some(rest) = text.strip_prefix('~') else { return Some(self.document.folder.join(text)) };
        match (self.document.home, rest.strip_prefix('/')) {
            (Some(home), Some(below)) => Some(home.join(below)),
            (Some(home), None) if rest.is_empty() => Some(home.to_owned()),
            (Some(_), None) => {
                self.fault(value.span().start, format!("`{path}`: of `~` only `~` and `~/…` are understood"));
                None
            }
            (None, _) => {
                self.fault(value.span().start, format!("`{path}`: `~` cannot be used, no home folder is known"));
                None
            }
        }
    }

    pub(super) fn variable(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let text = self.string(path, value)?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.is_empty() || !text.bytes().all(letter) {
            // What stands here may be the key itself, put in the wrong place: do not repeat it.
            self.fault(value.span().start, format!("`{path}` must be the name of an environment variable"));
            return None;
        }
        Some(Settled::from(text))
    }

    /// Printable ASCII that a header can carry. Never repeated in a fault.
    pub(super) fn header_text(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let text = self.filled(path, value)?;
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            self.fault(value.span().start, format!("`{path}` must be one line of printable ASCII"));
            return None;
        }
        Some(Settled::from(text))
    }

    pub(super) fn command(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let DeValue::Array(words) = value.get_ref() else {
            self.wrong_type(path, value, "a list: a program and its arguments");
            return None;
        };
        let Some(program) = words.first() else {
            self.fault(value.span().start, format!("`{path}` must name a program"));
            return None;
        };
        let program = self.program(path, program)?;
        let Settled { kind: config::ValueKind::Array(mut argv), .. } = self.list(path, value, Shape::Text)? else {
            return None;
        };
        if let Some(first) = argv.first_mut() {
            *first = program;
        }
        Some(argv.into())
    }
}

fn checked_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("must begin with {}", backticked(["https://", "http://"])));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no user or password; a key belongs into `credential`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must hold no query and no fragment".to_owned());
    }
    Ok(url)
}
