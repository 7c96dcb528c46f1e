//! The arguments of a session's turn: one `claude -p` process that speaks stream-json both ways (DESIGN.md §2).

/// Which conversation a turn belongs to. `claude` finds conversations per working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversation<'a> {
    /// A UUID that was never used: `claude` refuses a second use.
    New(&'a str),
    Resumed(&'a str),
}

/// One turn, as far as its command line goes.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    pub conversation: Conversation<'a>,
    /// As `claude` takes it, so `anthropic/ID` behind a gateway. A resumed conversation does not remember its model; it
    /// is left out only where `claude` is to choose itself.
    pub model: Option<&'a str>,
    /// What settings files `claude` reads, such as `user`; a repository's could redirect its traffic.
    pub setting_sources: &'a str,
    /// Text is printed as it streams, not only block by block.
    pub partial_messages: bool,
    /// The session's own arguments; they come last, so that they win.
    pub args: &'a [String],
}

/// What stands after the program's name.
pub fn turn_arguments(turn: &Turn<'_>) -> Vec<String> {
    // `--verbose` is required with `-p` and stream-json output.
    let mut arguments = vec!["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];
    if let Some(model) = turn.model {
        arguments.extend(["--model", model]);
    }
    match turn.conversation {
        Conversation::New(id) => arguments.extend(["--session-id", id]),
        Conversation::Resumed(id) => arguments.extend(["--resume", id]),
    }
    if !turn.setting_sources.is_empty() {
        arguments.extend(["--setting-sources", turn.setting_sources]);
    }
    if turn.partial_messages {
        arguments.push("--include-partial-messages");
    }
    arguments.into_iter().chain(turn.args.iter().map(String::as_str)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_names_its_model_its_conversation_and_lets_the_sessions_arguments_win() {
        let own = ["--permission-mode".to_owned(), "acceptEdits".to_owned()];
        let turn = Turn {
            conversation: Conversation::New("0190"),
            model: Some("anthropic/gpt-5.5"),
            setting_sources: "user",
            partial_messages: true,
            args: &own,
        };
        let common = "-p --input-format stream-json --output-format stream-json --verbose --model anthropic/gpt-5.5";
        assert_eq!(
            turn_arguments(&turn).join(" "),
            format!(
                "{common} --session-id 0190 --setting-sources user --include-partial-messages --permission-mode acceptEdits"
            )
        );
        let resumed = Turn {
            conversation: Conversation::Resumed("0190"),
            setting_sources: "",
            partial_messages: false,
            args: &[],
            ..turn
        };
        assert_eq!(turn_arguments(&resumed).join(" "), format!("{common} --resume 0190"));
    }
}
