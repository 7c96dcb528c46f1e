//! The lite lane of the Codex backend: the same content in another shape (CODEX.md §1.4).
//!
//! Tools stand in the first input item, the system prompt in a developer message behind it, calls are never parallel,
//! and the whole reasoning is kept. Of tools it knows functions alone.

use crate::providers::openai::wire::request::{
    ChosenTool, Item, Part, Reasoning, ResponsesRequest, Role, Tool, ToolChoice,
};
use crate::providers::translate::Dropped;

/// Turns a body of the full lane into one of the lite lane.
pub(super) fn reshape(body: &mut ResponsesRequest<'_>, dropped: &mut Dropped) {
    let declared = std::mem::take(&mut body.tools);
    let (tools, others): (Vec<_>, Vec<_>) =
        declared.into_iter().partition(|tool| matches!(tool, Tool::Function { .. }));
    if !others.is_empty() {
        dropped.note("tool.web_search");
    }
    let has_tools = !tools.is_empty();
    let names_another = matches!(&body.tool_choice, Some(ToolChoice::One(ChosenTool::AllowedTools { .. })));
    if !has_tools || names_another {
        body.tool_choice = None;
    }
    let additional = has_tools.then_some(Item::AdditionalTools { role: Role::Developer, tools });
    let prompt = body.instructions.take().filter(|text| text.get() != "\"\"");
    let prompt = prompt.map(|text| Item::Message {
        role: Role::Developer,
        content: vec![Part::InputText { text }],
        phase: None,
    });
    body.input.splice(0..0, additional.into_iter().chain(prompt));
    body.parallel_tool_calls = Some(false);
    let asked = body.reasoning.take().unwrap_or(Reasoning { effort: None, summary: None, context: None });
    body.reasoning = Some(Reasoning { context: Some("all_turns"), ..asked });
}
