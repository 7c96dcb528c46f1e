//! Tools and the choice among them (WIRE.md §1.3).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::RequestContext;
use super::messages::LateTool;
use super::names::Names;
use super::parts::noted;
use super::schema::{parameters, strict_eligible};
use crate::providers::anthropic::wire::{Members, MessagesRequest, Tool as ClientTool, loose};
use crate::providers::json_text::{JsonText, TextWriter, decoded, quote};
use crate::providers::openai::wire::request::{AllowedTool, ChosenTool, Filters, Text, Tool, ToolChoice, UserLocation};
use crate::providers::translate::{ApiError, Dropped};

/// An entry that `claude` puts among the tools to say that more can be searched for (Q-T8).
const PLACEHOLDER: &str = "DeferredToolPlaceholder";

/// Starts of the types that have nothing like them upstream (Q-T9); a web search only where the profile has none.
const NOT_UPSTREAM: [&str; 6] =
    ["web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "advisor_", "mcp_"];

/// All that the tools of a request become.
#[derive(Default)]
pub(super) struct Tools<'a> {
    pub declared: Vec<Tool<'a>>,
    pub choice: Option<ToolChoice<'a>>,
    pub parallel: Option<bool>,
    /// The client has at least one tool of its own (Q-E1).
    pub has_functions: bool,
    pub has_web_search: bool,
    /// `max_uses` of the web search.
    pub max_searches: Option<u64>,
    /// The upstream has no field for them: they go into the instructions (Q-T9).
    pub blocked_domains: Vec<String>,
}

/// Translates `tools` and `tool_choice`.
///
/// # Errors
/// 400 if `tool_choice` forces a tool that cannot be had upstream (Q-T9).
pub(super) fn translate<'a>(
    request: &MessagesRequest<'a>,
    context: &RequestContext<'_>,
    names: &Names,
    late: &[LateTool<'a>],
    dropped: &mut Dropped,
) -> Result<Tools<'a>, ApiError> {
    let mut tools = Tools { declared: Vec::with_capacity(request.tools().len()), ..Tools::default() };
    let mut gone = Vec::new();
    for tool in in_order(request.tools(), late) {
        match Kind::of(tool, context) {
            Kind::Function => tools.declared.extend(function(tool, context, names, tool.input_schema.as_ref())),
            Kind::WellKnown(schema) => {
                let schema: Option<Members<'_>> = serde_json::from_str(schema).ok();
                tools.declared.extend(function(tool, context, names, schema.as_ref()));
            }
            Kind::WebSearch => tools.web_search(tool),
            Kind::Placeholder => {}
            Kind::Gone => {
                dropped.note(noted("tool", &tool.kind()));
                gone.extend(tool.name.and_then(JsonText::of).map(JsonText::decode));
            }
        }
    }
    tools.has_functions = tools.declared.iter().any(|tool| matches!(tool, Tool::Function { .. }));
    let choice = request.tool_choice().unwrap_or_default();
    tools.choice = choose(&choice, &tools, names, &gone)?;
    if tools.declared.is_empty() {
        tools.choice = None;
    } else {
        tools.parallel = Some(choice.disable_parallel_tool_use.is_none_or(|raw| raw.get() != "true"));
    }
    Ok(tools)
}

/// Declared tools as declared, then the ones that came into play on the way, in that order: a tool that is loaded
/// later must not move the ones before it, or the prefix cache is lost (Q-T8).
fn in_order<'t, 'a>(declared: &'t [ClientTool<'a>], late: &'t [LateTool<'a>]) -> Vec<&'t ClientTool<'a>> {
    let mut last: Vec<&ClientTool<'a>> = Vec::new();
    for tool in late {
        let (tool, is_new) = match tool {
            LateTool::Referenced(name) => (find(declared, &name.decode()), true),
            LateTool::Added(tool) => {
                (Some(&**tool), tool_name(tool).is_none_or(|name| find(declared, &name).is_none()))
            }
        };
        last.extend(tool.filter(|tool| is_new && !last.iter().any(|known| tool_name(known) == tool_name(tool))));
    }
    let is_last = |tool: &ClientTool<'a>| last.iter().any(|late| std::ptr::eq(*late, tool));
    let mut ordered: Vec<_> = declared.iter().filter(|tool| !is_last(tool)).collect();
    ordered.extend(&last);
    ordered
}

fn find<'t, 'a>(tools: &'t [ClientTool<'a>], name: &str) -> Option<&'t ClientTool<'a>> {
    tools.iter().find(|tool| tool_name(tool).as_deref() == Some(name))
}

fn tool_name<'a>(tool: &ClientTool<'a>) -> Option<Cow<'a, str>> {
    tool.name.and_then(JsonText::of).map(JsonText::decode)
}

enum Kind {
    Function,
    /// Run by the client, but declared without a schema: it gets the well-known one.
    WellKnown(&'static str),
    WebSearch,
    Placeholder,
    /// Nothing like it upstream.
    Gone,
}

impl Kind {
    /// By the prefix of its `type`: the dates behind it keep changing (Q-T9).
    fn of(tool: &ClientTool<'_>, context: &RequestContext<'_>) -> Self {
        let kind = tool.kind();
        let is = |prefix: &str| kind.starts_with(prefix);
        if tool_name(tool).as_deref() == Some(PLACEHOLDER) {
            return Self::Placeholder;
        }
        match &*kind {
            "" | "custom" | "function" => Self::Function,
            _ if is("web_search_") && !context.profile.is_custom() => Self::WebSearch,
            _ if is("computer_") => Self::WellKnown(COMPUTER),
            _ if is("bash_") => Self::WellKnown(BASH),
            _ if is("text_editor_") => Self::WellKnown(TEXT_EDITOR),
            _ if is("memory_") => Self::WellKnown(MEMORY),
            _ if NOT_UPSTREAM.iter().any(|prefix| is(prefix)) => Self::Gone,
            _ if tool.input_schema.is_some() => Self::Function,
            _ => Self::Gone,
        }
    }
}

fn function<'a>(
    tool: &ClientTool<'a>,
    context: &RequestContext<'_>,
    names: &Names,
    schema: Option<&Members<'a>>,
) -> Option<Tool<'a>> {
    let name = tool.name.and_then(JsonText::of)?;
    let parameters = parameters(schema);
    let asked = tool.strict.is_some_and(|raw| raw.get() == "true");
    let strict = asked && schema.is_some_and(strict_eligible);
    Some(Tool::Function {
        name: names.sent(name),
        description: describe(tool.description.and_then(JsonText::of), parameters.note),
        parameters: parameters.schema,
        strict: context.profile.strict.then_some(strict),
    })
}

fn describe<'a>(description: Option<JsonText<'a>>, note: Option<String>) -> Option<Text<'a>> {
    match (description, note) {
        (None, None) => None,
        (Some(description), None) => Some(Cow::Borrowed(description.raw())),
        (None, Some(note)) => Some(quote(&note)),
        (Some(description), Some(note)) => {
            let mut text = TextWriter::with_capacity(description.escaped().len() + note.len() + 4);
            text.escaped(description.escaped()).plain("\n\n").plain(&note);
            Some(text.finish())
        }
    }
}

impl<'a> Tools<'a> {
    fn web_search(&mut self, tool: &ClientTool<'a>) {
        let allowed_domains = domains(tool.allowed_domains);
        let filters = (!allowed_domains.is_empty()).then_some(Filters { allowed_domains });
        self.blocked_domains.extend(domains(tool.blocked_domains));
        self.max_searches = loose(tool.max_uses);
        self.has_web_search = true;
        self.declared.push(Tool::WebSearch { filters, user_location: user_location(tool.user_location) });
    }
}

/// Names of hosts, without a scheme.
fn domains(raw: Option<&RawValue>) -> Vec<String> {
    let list: Vec<&RawValue> = loose(raw).unwrap_or_default();
    let names = list.into_iter().filter_map(JsonText::of).map(JsonText::decode);
    names.map(|name| name.split_once("://").map_or(&*name, |(_, host)| host).to_owned()).collect()
}

fn user_location<'a>(raw: Option<&'a RawValue>) -> Option<UserLocation<'a>> {
    let location: Members<'a> = loose(raw)?;
    let text = |key| location.get(key).filter(|value| JsonText::of(value).is_some());
    let (city, region, country, timezone) = (text("city"), text("region"), text("country"), text("timezone"));
    Some(UserLocation { r#type: "approximate", city, region, country, timezone })
}

/// Q-T11.
fn choose<'a>(
    choice: &crate::providers::anthropic::wire::ToolChoice<'a>,
    tools: &Tools<'a>,
    names: &Names,
    gone: &[Cow<'a, str>],
) -> Result<Option<ToolChoice<'a>>, ApiError> {
    let kind = decoded(choice.kind);
    let name = choice.name.and_then(JsonText::of);
    let chosen = match (&*kind, name) {
        ("auto", _) => ToolChoice::Mode("auto"),
        ("any", _) => ToolChoice::Mode("required"),
        ("none", _) => ToolChoice::Mode("none"),
        ("tool", Some(name)) if gone.contains(&name.decode()) => {
            let name = name.decode();
            return Err(ApiError::invalid(format!(
                "tool_choice: the tool \"{name}\" is not supported by this backend"
            )));
        }
        ("tool", Some(name)) => force(name, tools, names),
        _ => return Ok(None),
    };
    Ok(Some(chosen))
}

fn force<'a>(name: JsonText<'a>, tools: &Tools<'a>, names: &Names) -> ToolChoice<'a> {
    let sent = names.sent(name);
    let is_function = |tool: &Tool<'_>| matches!(tool, Tool::Function { name, .. } if **name == *sent);
    if tools.declared.iter().any(is_function) || !tools.has_web_search || sent != "web_search" {
        return ToolChoice::One(ChosenTool::Function { name: sent });
    }
    match tools.declared.len() {
        1 => ToolChoice::Mode("required"),
        _ => ToolChoice::One(ChosenTool::AllowedTools { mode: "required", tools: [AllowedTool::WebSearch] }),
    }
}

const BASH: &str = r#"{"type":"object","properties":{"command":{"type":"string","description":"The command to run"},"restart":{"type":"boolean","description":"Restart the shell instead of running a command"}}}"#;

const TEXT_EDITOR: &str = r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","undo_edit"]},"path":{"type":"string","description":"Absolute path of a file or folder"},"view_range":{"type":"array","items":{"type":"integer"},"description":"First and last line to view, from 1; -1 is the end"},"file_text":{"type":"string","description":"Content of the file to create"},"old_str":{"type":"string","description":"Text to replace; must occur once"},"new_str":{"type":"string","description":"Text to put in its place, or to insert"},"insert_line":{"type":"integer","description":"Line after which to insert; 0 is the start"},"insert_text":{"type":"string","description":"Text to insert"}},"required":["command","path"]}"#;

const MEMORY: &str = r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"]},"path":{"type":"string","description":"Path below /memories"},"view_range":{"type":"array","items":{"type":"integer"}},"file_text":{"type":"string"},"old_str":{"type":"string"},"new_str":{"type":"string"},"insert_line":{"type":"integer"},"insert_text":{"type":"string"},"old_path":{"type":"string"},"new_path":{"type":"string"}},"required":["command"]}"#;

const COMPUTER: &str = r#"{"type":"object","properties":{"action":{"type":"string","enum":["key","type","mouse_move","left_click","left_click_drag","right_click","middle_click","double_click","triple_click","left_mouse_down","left_mouse_up","scroll","hold_key","wait","screenshot","cursor_position","zoom"]},"coordinate":{"type":"array","items":{"type":"integer"},"description":"x and y, in pixels"},"start_coordinate":{"type":"array","items":{"type":"integer"}},"text":{"type":"string","description":"Text to type, or keys to press"},"scroll_direction":{"type":"string","enum":["up","down","left","right"]},"scroll_amount":{"type":"integer"},"duration":{"type":"number","description":"Seconds"},"region":{"type":"array","items":{"type":"integer"}}},"required":["action"]}"#;
