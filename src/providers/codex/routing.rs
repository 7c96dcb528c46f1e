//! Where a workspace's traffic goes: what `GET /wham/accounts/check` says (CODEX.md §1.3).
//!
//! Whatever is unusable about the answer means the configured `base_url` without an override, as older clients of that
//! backend did it. The token is never sent to a discovered origin that is not https.

use super::wire::AccountsCheck;

/// The way that the workspace prescribes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkspaceRoute {
    /// `https://host[:port]`, instead of the origin of `base_url`.
    pub origin: String,
    /// `x-openai-account-routing-override`.
    pub routing_override: Option<&'static str>,
}

/// Why an answer prescribes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingFault {
    #[error("the answer is no list of accounts")]
    NoList,
    #[error("the account of the login is not in the list")]
    AccountMissing,
    #[error("the account's origin is no https origin")]
    NotHttps,
    #[error("the account's routing is one that this version does not know")]
    UnknownOverride,
}

impl WorkspaceRoute {
    /// The route of `account` in an answer of `accounts/check`.
    ///
    /// # Errors
    /// The answer cannot be read, lacks the account, or prescribes what must not or cannot be done.
    pub fn parse(body: &[u8], account: &str) -> Result<Self, RoutingFault> {
        let answer: AccountsCheck = serde_json::from_slice(body).map_err(|_| RoutingFault::NoList)?;
        let mut accounts = answer.accounts.into_iter();
        let found = accounts.find(|entry| entry.id.as_deref() == Some(account)).ok_or(RoutingFault::AccountMissing)?;
        let origin = found.workspace_backend_origin.as_deref().and_then(https_origin).ok_or(RoutingFault::NotHttps)?;
        let routing_override = match found.account_routing_override.as_deref() {
            None | Some("NO_CONSTRAINT") => None,
            Some("us") => Some("us"),
            Some("us_cr") => Some("us_cr"),
            Some(_) => return Err(RoutingFault::UnknownOverride),
        };
        Ok(Self { origin, routing_override })
    }
}

/// An https origin without path, query or person; normalised.
fn https_origin(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    let usable = url.scheme() == "https" && url.host_str().is_some() && bare && anonymous;
    usable.then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(origin: &str, routing: &str) -> String {
        format!(
            r#"{{"accounts": [{{"id": null}}, {{"id": "a", "workspace_backend_origin": {origin},
                "account_routing_override": {routing}}}], "default_account_id": "a"}}"#
        )
    }

    fn route(origin: &str, routing: &str) -> Result<WorkspaceRoute, RoutingFault> {
        WorkspaceRoute::parse(answer(origin, routing).as_bytes(), "a")
    }

    #[test]
    fn the_recorded_answer_prescribes_its_origin_and_no_override() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/codex/responses/accounts_check.json");
        let body = std::fs::read(path).unwrap();
        let found = WorkspaceRoute::parse(&body, "acct-11111111-2222-3333-4444-555555555555").unwrap();
        assert_eq!(found, WorkspaceRoute { origin: "https://chatgpt.com".to_owned(), routing_override: None });
        assert_eq!(WorkspaceRoute::parse(&body, "another"), Err(RoutingFault::AccountMissing));
    }

    #[test]
    fn known_overrides_are_honoured_and_unknown_ones_are_not_guessed() {
        let table = [("null", Ok(None)), (r#""NO_CONSTRAINT""#, Ok(None)), (r#""us""#, Ok(Some("us")))];
        for (routing, expected) in table {
            assert_eq!(route(r#""https://h""#, routing).map(|route| route.routing_override), expected, "{routing}");
        }
        assert_eq!(route(r#""https://h""#, r#""us_cr""#).unwrap().routing_override, Some("us_cr"));
        assert_eq!(route(r#""https://h""#, r#""mars""#), Err(RoutingFault::UnknownOverride));
    }

    #[test]
    fn only_a_bare_https_origin_is_one() {
        for origin in [
            "null",
            r#""""#,
            r#""NO_CONSTRAINT""#,
            r#""http://h""#,
            r#""https://h/path""#,
            r#""https://u:p@h""#,
            r#""https://h?q=1""#,
        ] {
            assert_eq!(route(origin, "null"), Err(RoutingFault::NotHttps), "{origin}");
        }
        assert_eq!(route(r#""https://H:8443/""#, "null").unwrap().origin, "https://h:8443");
    }

    #[test]
    fn what_is_no_list_is_said_so() {
        for body in ["", "<html>", "{}", r#"{"accounts": {}}"#] {
            assert_eq!(WorkspaceRoute::parse(body.as_bytes(), "a"), Err(RoutingFault::NoList), "{body}");
        }
    }
}
