//! Where the families of models on Bedrock have the output limit in their own bodies.
//!
//! Told by the model id alone. An id that hides the family (an ARN of a profile or of an imported
//! model) has no known place, so a cap cannot be said and the request does not leave under one.

/// Where a body that sets no output limit takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A member of the body.
    Member(&'static str),
    /// A member of Nova's `inferenceConfig`: `maxTokens`.
    Inference,
    /// A member of Titan's `textGenerationConfig`: `maxTokenCount`.
    TextGeneration,
    /// The model makes no output tokens: vectors, ranks, images, films.
    Nowhere,
    /// The id does not tell.
    Unknown,
}

/// Parts of ids of models without output tokens; looked at before the families.
const WITHOUT_OUTPUT: [&str; 9] =
    ["embed", "rerank", "image", "canvas", "reel", "stability.", "marengo", "luma.", "sd3"];

/// Parts of ids of families whose limit is `max_tokens`.
const PLAIN: [&str; 14] = [
    "anthropic.",
    "claude",
    "mistral.",
    "cohere.",
    "ai21.",
    "deepseek.",
    "qwen.",
    "openai.",
    "writer.",
    "google.",
    "minimax.",
    "moonshot",
    "nvidia.",
    "zai.",
];

/// The place in the body of the model with `id`.
pub(super) fn place(id: &str) -> Place {
    let has = |part: &str| id.contains(part);
    if WITHOUT_OUTPUT.iter().any(|part| has(part)) {
        Place::Nowhere
    } else if has("amazon.nova") {
        Place::Inference
    } else if has("amazon.titan") {
        Place::TextGeneration
    } else if has("meta.") || has("llama") {
        Place::Member("max_gen_len")
    } else if PLAIN.iter().any(|part| has(part)) {
        Place::Member("max_tokens")
    } else {
        Place::Unknown
    }
}
