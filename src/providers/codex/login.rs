//! The login that the `codex` CLI keeps in `auth.json` (CODEX.md §4): read, never written.
//!
//! Account, plan and expiry come out of the tokens' claims. Nobody checks a signature here: the upstream does, and what
//! we read only decides when to have the CLI refresh and what to show a person.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::wire::{AuthFile, Claims, Config, Secret, Tokens};

/// Seconds. The CLI refreshes a token that ends within this time (CODEX.md §3.2), and so do we have it refreshed.
const DUE_BEFORE_END: u64 = 300;

/// How a login was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMode {
    /// By `codex login`: the CLI refreshes its token.
    ChatGpt,
    /// Tokens that another program owns and renews (`chatgptAuthTokens`).
    External,
    ApiKey,
    PersonalAccessToken,
}

/// A usable login. Prints no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct CodexLogin {
    pub mode: LoginMode,
    pub token: Zeroizing<String>,
    /// What `chatgpt-account-id` carries.
    pub account_id: Option<String>,
    /// Unix seconds; absent for a token that does not say.
    pub exp: Option<u64>,
    pub plan: Option<String>,
    pub email: Option<String>,
    pub fedramp: bool,
}

/// How much of its life a token has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Good,
    /// It ends within five minutes.
    Due,
    Over,
}

/// Why a file is no login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFault {
    /// Half written, or damaged: worth a second look.
    #[error("auth.json is no whole JSON document")]
    Torn,
    #[error("auth.json holds no login")]
    Empty,
    #[error("auth.json has the mode `{mode}`, which this version does not know")]
    UnknownMode { mode: String },
    #[error("auth.json holds an agent identity, which signs each request by itself and cannot be used here")]
    AgentIdentity,
    #[error("the token in auth.json holds characters that no token has")]
    NotAToken,
}

impl CodexLogin {
    /// Reads `auth.json`.
    ///
    /// # Errors
    /// [`LoginFault::Torn`] for what is no JSON of that form, else what is missing or cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, LoginFault> {
        let file: AuthFile = serde_json::from_slice(bytes).map_err(|_| LoginFault::Torn)?;
        let login = match file.auth_mode.as_deref() {
            None if is_filled(file.api_key.as_ref()) => Self::of_key(file.api_key, LoginMode::ApiKey)?,
            None | Some("chatgpt") => Self::of_tokens(file.tokens, LoginMode::ChatGpt)?,
            Some("chatgptAuthTokens") => Self::of_tokens(file.tokens, LoginMode::External)?,
            Some("apikey") => Self::of_key(file.api_key, LoginMode::ApiKey)?,
            Some("personalAccessToken") => Self::of_key(file.personal_access_token, LoginMode::PersonalAccessToken)?,
            Some("agentIdentity") => return Err(LoginFault::AgentIdentity),
            Some(mode) => return Err(LoginFault::UnknownMode { mode: mode.chars().take(40).collect() }),
        };
        match login.token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(login),
            false => Err(LoginFault::NotAToken),
        }
    }

    /// A login whose token came from the CLI itself, out of whatever store it uses.
    pub fn of_token(token: Zeroizing<String>, mode: LoginMode) -> Self {
        let claims = claims(&token).unwrap_or_default();
        Self {
            mode,
            token,
            account_id: filled(claims.auth.chatgpt_account_id),
            exp: claims.exp,
            plan: filled(claims.auth.chatgpt_plan_type),
            email: filled(claims.email).or(filled(claims.profile.email)),
            fedramp: claims.auth.chatgpt_account_is_fedramp.unwrap_or(false),
        }
    }

    fn of_key(key: Option<Secret>, mode: LoginMode) -> Result<Self, LoginFault> {
        let Secret(token) = key.filter(|key| !key.0.is_empty()).ok_or(LoginFault::Empty)?;
        let (account_id, exp, plan, email) = (None, None, None, None);
        Ok(Self { mode, token, account_id, exp, plan, email, fedramp: false })
    }

    fn of_tokens(tokens: Option<Tokens>, mode: LoginMode) -> Result<Self, LoginFault> {
        let tokens = tokens.ok_or(LoginFault::Empty)?;
        let Secret(token) = tokens.access_token.filter(|token| !token.0.is_empty()).ok_or(LoginFault::Empty)?;
        let of_access = Self::of_token(token, mode);
        let of_id = tokens.id_token.and_then(|Secret(token)| claims(&token)).unwrap_or_default();
        // The id token knows the person better; the account of the file is the one that the CLI chose.
        Ok(Self {
            account_id: filled(tokens.account_id).or(of_access.account_id).or(filled(of_id.auth.chatgpt_account_id)),
            plan: filled(of_id.auth.chatgpt_plan_type).or(of_access.plan),
            email: filled(of_id.email).or(filled(of_id.profile.email)).or(of_access.email),
            fedramp: of_id.auth.chatgpt_account_is_fedramp.unwrap_or(of_access.fedramp),
            ..of_access
        })
    }

    /// `now` in Unix seconds.
    pub fn life(&self, now: u64) -> Life {
        match self.exp {
            Some(exp) if exp <= now => Life::Over,
            Some(exp) if exp <= now.saturating_add(DUE_BEFORE_END) => Life::Due,
            Some(_) | None => Life::Good,
        }
    }

    /// Whether the CLI can get a newer token for it.
    pub fn can_be_refreshed(&self) -> bool {
        match self.mode {
            LoginMode::ChatGpt => true,
            LoginMode::External | LoginMode::ApiKey | LoginMode::PersonalAccessToken => false,
        }
    }
}

impl fmt::Debug for CodexLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodexLogin").field("mode", &self.mode).field("exp", &self.exp).finish_non_exhaustive()
    }
}

/// Where the CLI keeps its login: `cli_auth_credentials_store` of its `config.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialStore {
    #[default]
    File,
    /// The system's keyring; `auth.json` is ignored.
    Keyring,
    /// The keyring, else the file.
    Auto,
    /// The memory of one process: no login of it can be used.
    Ephemeral,
}

impl CredentialStore {
    /// Reads `config.toml`. One that cannot be read, or names a store we do not know, is as good as none.
    pub fn of_config(text: &str) -> Self {
        let config: Option<Config> = toml::from_str(text).ok();
        match config.and_then(|config| config.cli_auth_credentials_store).as_deref() {
            Some("keyring") => Self::Keyring,
            Some("auto") => Self::Auto,
            Some("ephemeral") => Self::Ephemeral,
            Some(_) | None => Self::File,
        }
    }
}

/// The claims of a JWT whose signature nobody checks.
fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let decoded = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&decoded).ok()
}

fn is_filled(secret: Option<&Secret>) -> bool {
    secret.is_some_and(|secret| !secret.0.is_empty())
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        let path = format!("{}/tests/fixtures/codex/auth/{name}.auth.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a fixture")
    }

    fn jwt(claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"none"}"#), part(claims), part("signature"))
    }

    const ACCESS: &str = r#"{"exp": 1796284127, "https://api.openai.com/auth": {"chatgpt_account_id": "acct-of-claim",
        "chatgpt_plan_type": "plus"}, "https://api.openai.com/profile": {"email": "a@b.c"}}"#;
    const ID: &str = r#"{"exp": 1, "email": "ann@example.com", "https://api.openai.com/auth":
        {"chatgpt_plan_type": "pro", "chatgpt_account_is_fedramp": true}}"#;

    fn signed(name: &str) -> String {
        let (access, id) = (jwt(ACCESS), jwt(ID));
        fixture(name).replace("<JWT access>", &access).replace("<JWT id>", &id).replace("<JWT>", &access)
    }

    fn parse(text: &str) -> Result<CodexLogin, LoginFault> {
        CodexLogin::parse(text.as_bytes())
    }

    #[test]
    fn every_mode_that_carries_a_bearer_is_a_login() {
        let table = [
            ("chatgpt", LoginMode::ChatGpt, Some("acct-11111111-2222-3333-4444-555555555555"), Some(1_796_284_127)),
            (
                "chatgpt_legacy_no_mode",
                LoginMode::ChatGpt,
                Some("acct-11111111-2222-3333-4444-555555555555"),
                Some(1_796_284_127),
            ),
            (
                "chatgpt_auth_tokens_external",
                LoginMode::External,
                Some("acct-11111111-2222-3333-4444-555555555555"),
                Some(1_796_284_127),
            ),
            ("apikey", LoginMode::ApiKey, None, None),
            ("personal_access_token", LoginMode::PersonalAccessToken, None, None),
        ];
        for (name, mode, account, exp) in table {
            let login = parse(&signed(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert_eq!((login.mode, login.account_id.as_deref(), login.exp), (mode, account, exp), "{name}");
        }
    }

    #[test]
    fn the_id_token_tells_plan_person_and_fedramp() {
        let login = parse(&signed("chatgpt")).unwrap();
        assert_eq!(login.plan.as_deref(), Some("pro"));
        assert_eq!(login.email.as_deref(), Some("ann@example.com"));
        assert!(login.fedramp);
        assert_eq!(*login.token, jwt(ACCESS));
    }

    #[test]
    fn without_an_account_in_the_file_the_tokens_claim_counts() {
        let text = format!(r#"{{"tokens": {{"access_token": "{}", "id_token": "no jwt"}}}}"#, jwt(ACCESS));
        let login = parse(&text).unwrap();
        assert_eq!(login.account_id.as_deref(), Some("acct-of-claim"));
        assert_eq!(login.email.as_deref(), Some("a@b.c"));
    }

    #[test]
    fn without_a_mode_a_key_comes_before_tokens() {
        let text = format!(r#"{{"OPENAI_API_KEY": "sk-1", "tokens": {{"access_token": "{}"}}}}"#, jwt(ACCESS));
        assert_eq!(parse(&text).unwrap().mode, LoginMode::ApiKey);
    }

    #[test]
    fn what_cannot_be_used_is_said_in_its_own_sentence() {
        let unknown = LoginFault::UnknownMode { mode: "bedrock".to_owned() };
        let table = [
            ("", LoginFault::Torn),
            (r#"{"auth_mode": "chatgpt", "tok"#, LoginFault::Torn),
            ("[]", LoginFault::Torn),
            ("{}", LoginFault::Empty),
            (r#"{"auth_mode": "chatgpt"}"#, LoginFault::Empty),
            (r#"{"auth_mode": "chatgpt", "tokens": {"access_token": ""}}"#, LoginFault::Empty),
            (r#"{"auth_mode": "apikey", "OPENAI_API_KEY": null}"#, LoginFault::Empty),
            (r#"{"auth_mode": "personalAccessToken"}"#, LoginFault::Empty),
            (r#"{"auth_mode": "bedrock"}"#, unknown),
            (r#"{"auth_mode": "agentIdentity", "agent_identity": "x"}"#, LoginFault::AgentIdentity),
            (r#"{"auth_mode": "apikey", "OPENAI_API_KEY": "a b"}"#, LoginFault::NotAToken),
        ];
        for (text, fault) in table {
            assert_eq!(parse(text).unwrap_err(), fault, "{text}");
        }
        assert_eq!(parse(&fixture("agent_identity")).unwrap_err(), LoginFault::AgentIdentity);
    }

    #[test]
    fn any_bytes_give_a_login_or_a_fault() {
        for bytes in [
            &b"\xff\xfe"[..],
            b"null",
            b"{\"tokens\":{\"access_token\":\"a.!!.c\"}}",
            b"{\"tokens\":{\"access_token\":\"a.bnVsbA.c\"}}",
        ] {
            let _ = CodexLogin::parse(bytes);
        }
        let opaque = parse(r#"{"tokens": {"access_token": "opaque"}}"#).unwrap();
        assert_eq!((opaque.exp, opaque.account_id), (None, None));
    }

    #[test]
    fn a_token_is_due_five_minutes_before_its_end() {
        let login = parse(&signed("chatgpt")).unwrap();
        let exp = login.exp.unwrap();
        assert_eq!(login.life(exp - 301), Life::Good);
        assert_eq!(login.life(exp - 300), Life::Due);
        assert_eq!(login.life(exp - 1), Life::Due);
        assert_eq!(login.life(exp), Life::Over);
        assert_eq!(CodexLogin { exp: None, ..login }.life(u64::MAX), Life::Good);
    }

    #[test]
    fn a_login_prints_no_secret() {
        let login = parse(&signed("chatgpt")).unwrap();
        assert!(!format!("{login:?}").contains(&login.token[..12]));
    }

    #[test]
    fn the_store_is_the_file_unless_the_clis_config_says_otherwise() {
        let table = [
            ("", CredentialStore::File),
            ("cli_auth_credentials_store = \"file\"", CredentialStore::File),
            ("cli_auth_credentials_store = \"keyring\"\nmodel = 'x'", CredentialStore::Keyring),
            ("cli_auth_credentials_store = \"auto\"", CredentialStore::Auto),
            ("cli_auth_credentials_store = \"ephemeral\"", CredentialStore::Ephemeral),
            ("cli_auth_credentials_store = \"keyring\"\nthis is not toml", CredentialStore::File),
        ];
        for (text, store) in table {
            assert_eq!(CredentialStore::of_config(text), store, "{text}");
        }
    }
}
