//! What stands where in a request, for all protocols at once.
//!
//! One table serves all, because a part that one protocol knows is refused or ignored by the others
//! and never shown to a model. A place that is not known holds data: it counts as text in its longest
//! form. Only what is certainly media is not counted by its bytes.

use outcrop_core::Protocol;

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The body, or a body inside it.
    Body,
    /// A list of messages.
    Messages,
    Message,
    /// Content: a text, or a list of blocks.
    Content,
    Block,
    /// `type` of a block.
    BlockKind,
    /// `source` of Anthropic's images and documents, or an address.
    Source,
    ToolConfig,
    /// A list of tools.
    Tools,
    Tool,
    /// `type` of a tool.
    ToolKind,
    /// Calls of tools, or a single one.
    Call,
    ToolResult,
    /// The name of a tool that may have to be said twice.
    Name,
    /// Texts, or lists of tokens, to embed.
    Embedded,
    /// The request inside one that counts tokens.
    Counted,
    /// Changes to the context before the model sees it.
    Edits,
    /// Text as it is.
    Text,
    /// Anything, as it may be written into a prompt.
    Data,
    /// An image or an address of one.
    Image,
    /// A list of images.
    Images,
    /// The inside of what is counted as a whole.
    Inside,
    /// What has no formula.
    Alien(&'static str),
}

pub(super) const AUDIO: &str = "audio";
pub(super) const DOCUMENT: &str = "a document";
pub(super) const FILE: &str = "a file";
pub(super) const PROVIDERS_TOOL: &str = "a tool that the provider runs";
pub(super) const COMPACTION: &str = "a compaction of the context";

impl Place {
    /// The place of the member `key` of an object here.
    pub(super) fn member(self, key: &str, protocol: Protocol) -> Self {
        match self {
            Self::Body => body(key, protocol),
            Self::Message => match key {
                "content" => Self::Content,
                "audio" => Self::Alien(AUDIO),
                "tool_calls" | "function_call" => Self::Call,
                "name" => Self::Name,
                _ => Self::Data,
            },
            Self::Block | Self::Content => block(key),
            Self::ToolConfig if key == "tools" => Self::Tools,
            Self::Tool => match key {
                "type" => Self::ToolKind,
                "systemTool" => Self::Alien(PROVIDERS_TOOL),
                _ => Self::Data,
            },
            Self::ToolResult if key == "content" => Self::Content,
            Self::Counted if key == "converse" => Self::Body,
            Self::Edits => Self::Edits,
            Self::Call | Self::Data if key == "name" => Self::Name,
            Self::Image | Self::Inside | Self::Source | Self::Alien(_) => Self::Inside,
            Self::Messages
            | Self::BlockKind
            | Self::ToolConfig
            | Self::Tools
            | Self::ToolKind
            | Self::Call
            | Self::ToolResult
            | Self::Name
            | Self::Embedded
            | Self::Counted
            | Self::Text
            | Self::Data
            | Self::Images => Self::Data,
        }
    }

    /// The place of an entry of a list here.
    pub(super) fn entry(self) -> Self {
        match self {
            Self::Messages => Self::Message,
            Self::Content => Self::Block,
            Self::Tools => Self::Tool,
            Self::Images => Self::Image,
            Self::Call | Self::Embedded | Self::Edits | Self::Text | Self::Inside | Self::Alien(_) => self,
            Self::Image | Self::Source => Self::Inside,
            Self::Body
            | Self::Message
            | Self::Block
            | Self::BlockKind
            | Self::ToolConfig
            | Self::Tool
            | Self::ToolKind
            | Self::ToolResult
            | Self::Name
            | Self::Counted
            | Self::Data => Self::Data,
        }
    }

    /// Whether the value may be written into a prompt as JSON.
    pub(super) fn is_data(self) -> bool {
        matches!(self, Self::Data | Self::Call | Self::Name | Self::Edits)
    }
}

fn body(key: &str, protocol: Protocol) -> Place {
    match key {
        "messages" | "inputs" => Place::Messages,
        "system" => Place::Content,
        "tools" | "functions" => Place::Tools,
        "toolConfig" => Place::ToolConfig,
        "additionalModelRequestFields" => Place::Body,
        "prompt" | "inputText" | "texts" => Place::Text,
        "inputImage" | "image" => Place::Image,
        "images" => Place::Images,
        "input" => match protocol {
            Protocol::OpenAiEmbeddings => Place::Embedded,
            Protocol::BedrockCountTokens => Place::Counted,
            Protocol::OpenAiChat
            | Protocol::AnthropicMessages
            | Protocol::AnthropicCountTokens
            | Protocol::BedrockConverse
            | Protocol::BedrockInvoke
            | Protocol::McpTool => Place::Data,
        },
        "context_management" => Place::Edits,
        "compaction" => Place::Alien(COMPACTION),
        "audio" => Place::Alien(AUDIO),
        // Its rejected tokens are billed as output, beside the limit.
        "prediction" => Place::Alien("a predicted output"),
        "web_search_options" => Place::Alien("a search of the web"),
        "mcp_servers" | "container" => Place::Alien(PROVIDERS_TOOL),
        "promptVariables" => Place::Alien("a prompt that the provider stores"),
        _ => Place::Data,
    }
}

fn block(key: &str) -> Place {
    match key {
        "type" => Place::BlockKind,
        "text" | "thinking" => Place::Text,
        "content" => Place::Content,
        "source" => Place::Source,
        "image" | "image_url" => Place::Image,
        "guardContent" => Place::Block,
        "toolResult" => Place::ToolResult,
        "toolUse" => Place::Call,
        "name" => Place::Name,
        "audio" | "audio_url" | "input_audio" => Place::Alien(AUDIO),
        "video" | "video_url" => Place::Alien("video"),
        "document" | "document_url" => Place::Alien(DOCUMENT),
        "file" | "file_id" => Place::Alien(FILE),
        _ => Place::Data,
    }
}
