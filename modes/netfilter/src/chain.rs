//! Chains and their rules.

use std::sync::Arc;

use crate::expr::Expr;
use crate::statement::Statement;
use crate::{Family, udata};

/// A chain: where it hooks in, if at all, and its rules in order. Base chains have policy accept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `None` for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// Evaluated from first to last.
    pub rules: Vec<Rule>,
}

/// Where a base chain hooks in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whether the chain translates addresses (`type nat`) or not (`type filter`).
    pub translates: bool,
    /// The netfilter hook.
    pub point: HookPoint,
    /// Smaller is earlier; 0 is `filter`, -100 `dstnat`, 100 `srcnat`.
    pub priority: i32,
}

/// `enum nf_inet_hooks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Arrived, not yet routed.
    Prerouting,
    /// Routed to this node.
    Input,
    /// Routed through this node.
    Forward,
    /// Made on this node.
    Output,
    /// About to leave.
    Postrouting,
}

impl HookPoint {
    /// All, by number.
    pub const ALL: [HookPoint; 5] = [
        HookPoint::Prerouting,
        HookPoint::Input,
        HookPoint::Forward,
        HookPoint::Output,
        HookPoint::Postrouting,
    ];

    /// The name `nft` uses.
    pub const fn name(self) -> &'static str {
        match self {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        }
    }
}

/// A rule as the kernel holds it, with the text of the statements it was made from.
#[derive(Clone, Debug)]
pub struct Rule {
    expressions: Vec<Expr>,
    comment: Option<Arc<str>>,
    text: Option<Arc<str>>,
}

impl Rule {
    /// Lowers statements to expressions.
    pub fn new(family: Family, statements: &[Statement]) -> Rule {
        let mut expressions = Vec::new();
        let mut text = String::new();
        for statement in statements {
            if !text.is_empty() {
                text.push(' ');
            }
            statement.lower(family, &mut expressions);
            statement.print(family, &mut text);
        }
        Rule { expressions, comment: None, text: Some(text.into()) }
    }

    /// With a comment, cut to what `nft` can read.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Rule {
        self.comment = Some(udata::shortened(text).into());
        self
    }

    /// A rule read from the kernel.
    pub(crate) fn observed(expressions: Vec<Expr>, comment: Option<String>) -> Rule {
        Rule { expressions, comment: comment.map(Into::into), text: None }
    }

    pub(crate) fn expressions(&self) -> &[Expr] {
        &self.expressions
    }

    pub(crate) fn comment_text(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The rule in `nft` syntax; `None` for one that was read from the kernel.
    pub fn text(&self) -> Option<String> {
        let text = self.text.as_deref()?;
        Some(match &self.comment {
            Some(comment) => format!("{text} comment \"{comment}\""),
            None => text.to_owned(),
        })
    }
}

/// Two rules are the same if the kernel would do the same and an operator would read the same comment.
impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.expressions == other.expressions && self.comment == other.comment
    }
}

impl Eq for Rule {}
