//! What is said to `codex app-server` and what it answers (CODEX.md §3.6): how the CLI hands out its login from
//! whatever store it keeps it in.
//!
//! One JSON document a line each way. Notifications stand between the answers, so answers are known by their number.

use super::login::{CodexLogin, LoginMode};
use super::wire::{AccountRead, AccountReadParams, AuthStatus, AuthStatusParams, Call, ClientInfo, Initialize, Line};

const INITIALIZE: u32 = 1;
const AUTH_STATUS: u32 = 2;
const ACCOUNT: u32 = 3;

/// One conversation: what to write, and what was heard of it.
#[derive(Debug)]
pub struct Conversation {
    topic: Topic,
    login: Option<Result<CodexLogin, String>>,
    account: Option<Account>,
}

/// What the conversation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The login with its account.
    Login,
    /// A new token, however long the old one lives, and then the same.
    NewLogin,
    /// A new token alone, for who reads it from the file. The account would cost the CLI a question of its own.
    NewToken,
}

#[derive(Debug, Default)]
struct Account {
    id: Option<String>,
    email: Option<String>,
    plan: Option<String>,
}

impl Conversation {
    pub fn about(topic: Topic) -> Self {
        Self { topic, login: None, account: None }
    }

    /// Everything that we say, in lines.
    pub fn opening(&self, version: &str) -> String {
        let refresh = self.topic != Topic::Login;
        let client_info = ClientInfo { name: "claudette", title: "Claudette", version };
        let mut lines = vec![
            line(&Call { method: "initialize", id: Some(INITIALIZE), params: Some(Initialize { client_info }) }),
            line(&Call::<()> { method: "initialized", id: None, params: None }),
            line(&Call {
                method: "getAuthStatus",
                id: Some(AUTH_STATUS),
                params: Some(AuthStatusParams { include_token: true, refresh_token: refresh }),
            }),
        ];
        if self.wants_account() {
            let params = Some(AccountReadParams { refresh_token: false });
            lines.push(line(&Call { method: "account/read", id: Some(ACCOUNT), params }));
        }
        lines.concat()
    }

    /// Takes one line that it wrote; true once everything is answered.
    pub fn hear(&mut self, line: &str) -> bool {
        if let Ok(line) = serde_json::from_str::<Line<'_>>(line) {
            match line.id {
                Some(AUTH_STATUS) => self.login = Some(login(&line)),
                Some(ACCOUNT) => self.account = Some(account(&line)),
                Some(_) | None => {}
            }
        }
        self.login.is_some() && (self.account.is_some() || !self.wants_account())
    }

    fn wants_account(&self) -> bool {
        self.topic != Topic::NewToken
    }

    /// The login, with the account that the CLI names for it.
    ///
    /// # Errors
    /// A sentence: there is none, or the CLI did not answer.
    pub fn login(self) -> Result<CodexLogin, String> {
        let login = self.login.unwrap_or_else(|| Err("the codex CLI did not answer".to_owned()))?;
        let account = self.account.unwrap_or_default();
        Ok(CodexLogin {
            account_id: account.id.or(login.account_id),
            email: account.email.or(login.email),
            plan: account.plan.or(login.plan),
            ..login
        })
    }
}

fn login(line: &Line<'_>) -> Result<CodexLogin, String> {
    if let Some(error) = &line.error {
        let message = error.message.as_deref().unwrap_or("it gave no reason");
        return Err(format!("the codex CLI says: {}", message.chars().take(300).collect::<String>()));
    }
    let status = line.result.and_then(|result| serde_json::from_str::<AuthStatus>(result.get()).ok());
    let status = status.ok_or("the codex CLI answered in a form that this version does not know")?;
    let mode = match status.auth_method.as_deref() {
        Some("apikey" | "apiKey") => LoginMode::ApiKey,
        Some("chatgptAuthTokens") => LoginMode::External,
        Some("personalAccessToken") => LoginMode::PersonalAccessToken,
        Some(_) | None => LoginMode::ChatGpt,
    };
    match status.auth_token {
        Some(token) if !token.0.is_empty() => Ok(CodexLogin::of_token(token.0, mode)),
        Some(_) | None => Err("the codex CLI is not logged in".to_owned()),
    }
}

fn account(line: &Line<'_>) -> Account {
    let read = line.result.and_then(|result| serde_json::from_str::<AccountRead>(result.get()).ok());
    let Some(read) = read else { return Account::default() };
    let (email, plan) = read.account.map_or((None, None), |account| (account.email, account.plan_type));
    Account { id: read.workspace_routing.and_then(|routing| routing.chatgpt_account_id), email, plan }
}

fn line(call: &impl serde::Serialize) -> String {
    // Plain data: it cannot fail to be written.
    serde_json::to_string(call).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        r#"{"id":2,"result":{"authMethod":"chatgpt","authToken":"opaque-token","requiresOpenaiAuth":true}}"#;
    const READ: &str = r#"{"id":3,"result":{"account":{"type":"chatgpt","email":"a@b.c","planType":"pro","workspaceName":null},
        "userId":"u","requiresOpenaiAuth":true,"workspaceRouting":{"chatgptAccountId":"acct","backendOrigin":"https://h","accountRoutingOverride":"us"}}}"#;

    #[test]
    fn we_introduce_ourselves_and_ask_twice() {
        let opening = Conversation::about(Topic::NewLogin).opening("1.0");
        let lines: Vec<&str> = opening.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"method":"initialize","id":1,"params":{"clientInfo":{"name":"claudette","title":"Claudette","version":"1.0"}}}"#,
                r#"{"method":"initialized"}"#,
                r#"{"method":"getAuthStatus","id":2,"params":{"includeToken":true,"refreshToken":true}}"#,
                r#"{"method":"account/read","id":3,"params":{"refreshToken":false}}"#,
            ]
        );
    }

    #[test]
    fn a_new_token_alone_is_one_question() {
        let mut conversation = Conversation::about(Topic::NewToken);
        assert_eq!(conversation.opening("1.0").lines().count(), 3);
        assert!(conversation.hear(STATUS));
    }

    #[test]
    fn answers_are_known_by_their_number_among_notifications() {
        let mut conversation = Conversation::about(Topic::Login);
        assert!(!conversation.hear(r#"{"method":"configWarning","params":{}}"#));
        assert!(!conversation.hear(READ));
        assert!(!conversation.hear("not json"));
        assert!(!conversation.hear(r#"{"id":1,"result":{}}"#));
        assert!(conversation.hear(STATUS));
        let login = conversation.login().unwrap();
        assert_eq!((login.mode, login.token.as_str()), (LoginMode::ChatGpt, "opaque-token"));
        assert_eq!((login.account_id.as_deref(), login.plan.as_deref()), (Some("acct"), Some("pro")));
    }

    #[test]
    fn no_login_and_no_answer_are_sentences() {
        let table = [
            (r#"{"id":2,"result":{"authMethod":null,"authToken":null}}"#, "the codex CLI is not logged in"),
            (r#"{"id":2,"error":{"code":-1,"message":"keyring is locked"}}"#, "the codex CLI says: keyring is locked"),
            (r#"{"id":2,"result":5}"#, "the codex CLI answered in a form that this version does not know"),
            ("", "the codex CLI did not answer"),
        ];
        for (line, sentence) in table {
            let mut conversation = Conversation::about(Topic::Login);
            let _ = conversation.hear(line);
            assert_eq!(conversation.login().unwrap_err(), sentence, "{line}");
        }
    }
}
