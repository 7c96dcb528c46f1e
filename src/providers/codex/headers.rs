//! The headers of a request to the Codex backend, by name (CODEX.md §1.2): those that say who asks, and nothing that
//! only the official client could mean.

use super::routing::WorkspaceRoute;

/// The version that we name where no `codex` is installed: the one whose wire we know.
pub const KNOWN_CLIENT_VERSION: &str = "0.169.0";

/// What decides about the headers of one request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub originator: &'a str,
    /// Of the installed CLI.
    pub client_version: &'a str,
    pub account: Option<&'a str>,
    pub fedramp: bool,
    pub route: Option<&'a WorkspaceRoute>,
    /// In the shape of a UUID, the same as in the body (WIRE.md Q-P8).
    pub cache_key: Option<&'a str>,
    pub lite: bool,
}

impl<'a> Request<'a> {
    /// Names in lower case, with their values.
    pub fn headers(&self) -> Vec<(&'static str, &'a str)> {
        let mut headers = vec![("originator", self.originator), ("version", self.client_version)];
        let routing_override = self.route.and_then(|route| route.routing_override);
        let optional = [
            ("chatgpt-account-id", self.account),
            ("x-openai-fedramp", self.fedramp.then_some("true")),
            ("x-openai-account-routing-override", routing_override),
            ("session-id", self.cache_key),
            ("thread-id", self.cache_key),
            ("x-openai-internal-codex-responses-lite", self.lite.then_some("true")),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }
}

/// The version in what `codex --version` prints: `codex-cli 0.169.0`.
pub fn version_in(printed: &str) -> Option<&str> {
    let is_version = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_digit())
            && word.len() <= 40
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte))
    };
    printed.split_ascii_whitespace().find(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Request<'_> = Request {
        originator: "claudette",
        client_version: "0.169.0",
        account: None,
        fedramp: false,
        route: None,
        cache_key: None,
        lite: false,
    };

    #[test]
    fn a_request_says_who_asks_and_no_more() {
        assert_eq!(PLAIN.headers(), [("originator", "claudette"), ("version", "0.169.0")]);
    }

    #[test]
    fn account_session_routing_and_lane_are_named_where_there_are_any() {
        let route = WorkspaceRoute { origin: "https://h".to_owned(), routing_override: Some("us_cr") };
        let request = Request {
            account: Some("acct"),
            fedramp: true,
            route: Some(&route),
            cache_key: Some("key"),
            lite: true,
            ..PLAIN
        };
        assert_eq!(
            request.headers()[2..],
            [
                ("chatgpt-account-id", "acct"),
                ("x-openai-fedramp", "true"),
                ("x-openai-account-routing-override", "us_cr"),
                ("session-id", "key"),
                ("thread-id", "key"),
                ("x-openai-internal-codex-responses-lite", "true"),
            ]
        );
    }

    #[test]
    fn the_installed_version_is_the_first_word_that_is_one() {
        let table = [
            ("codex-cli 0.169.0\n", Some("0.169.0")),
            ("WARNING: no PATH aliases\ncodex-cli 0.170.0-alpha.1\n", Some("0.170.0-alpha.1")),
            ("", None),
            ("codex", None),
        ];
        for (printed, version) in table {
            assert_eq!(version_in(printed), version, "{printed:?}");
        }
    }
}
