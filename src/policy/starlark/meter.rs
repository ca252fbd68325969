//! The text of a checked file, rewritten so that everything is measured that could take any time: its values pass through
//! functions that look at their size first ([`super::operators`]).
//!
//! What cannot be watched from inside the evaluator is watched by calls put into the text: round the key of an index or a dict,
//! what a method is called on and given, what is cut, spread or added in place. Places of messages are told as they are in the
//! file: only on one line something is put in, and never a line.

use starlark::syntax::AstModule;
use starlark::syntax::ast::{
    ArgumentP, AssignTarget, AssignTargetP, AstArgument, AstExpr, AstLiteral, AstStmt, Clause, ClauseP, Expr,
    ForClause, Stmt,
};

use super::StarlarkError;
use super::error::excerpt;
use super::outline;

/// Methods of texts, lists and dicts, and how much of what they are called on they look at.
const METHODS: [(Look, &[&str]); 4] = [
    (Look::No, &["append", "clear", "extend", "get", "setdefault", "update"]),
    (Look::All, &["index", "remove"]),
    (Look::Moved, &["insert", "pop"]),
    (
        Look::Along,
        &[
            "capitalize",
            "codepoints",
            "count",
            "elems",
            "endswith",
            "find",
            "format",
            "isalnum",
            "isalpha",
            "isdigit",
            "islower",
            "isspace",
            "istitle",
            "isupper",
            "items",
            "join",
            "keys",
            "lower",
            "lstrip",
            "partition",
            "popitem",
            "removeprefix",
            "removesuffix",
            "replace",
            "rfind",
            "rindex",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "title",
            "upper",
            "values",
        ],
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    No,
    /// Entries are moved, and not looked at.
    Moved,
    Along,
    All,
}

/// A rewritten text, and the way back to the places of the file.
#[derive(Clone, Debug)]
pub(super) struct Metered {
    file: String,
    original: String,
    /// Where something is put in, in order, and what.
    put_in: Vec<(usize, &'static str)>,
}

impl Metered {
    /// Finds what is to be measured in a file.
    pub(super) fn new(ast: &AstModule, text: &str) -> Metered {
        let mut put_in = sites(ast);
        // Of two at one place the outer one was found first: it opens first.
        put_in.sort_by_key(|(at, _)| *at);
        Metered { file: ast.file_span(ast.statement().span).filename().to_owned(), original: text.to_owned(), put_in }
    }

    /// The text to be run.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.original.len() + 12 * self.put_in.len());
        let mut from = 0;
        for (at, piece) in &self.put_in {
            text.push_str(&self.original[from..*at]);
            text.push_str(piece);
            from = *at;
        }
        text + &self.original[from..]
    }

    /// Refuses a text that is nested too deeply with what is put in.
    ///
    /// # Errors
    /// The place at which it becomes too much.
    pub(super) fn nesting(&self) -> Result<(), StarlarkError> {
        let text = self.text();
        outline::nesting(&self.file, &text).map_err(|error| {
            let Some((line, column)) = error.place else { return error };
            let start: usize = text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
            let at = self.original_place(start + column as usize - 1);
            self.error(at, at, error.message)
        })
    }

    /// Holds the rewritten file against what was to be done to it.
    ///
    /// # Errors
    /// The place that could not be rewritten: the parser does not say where its brackets are.
    pub(super) fn verify(&self, rewritten: &AstModule) -> Result<(), StarlarkError> {
        match sites(rewritten).iter().map(|(at, _)| *at).min() {
            None => Ok(()),
            Some(at) => Err(self.error(
                self.original_place(at),
                self.original_place(at),
                "more brackets than it needs: leave the doubled ones out".to_owned(),
            )),
        }
    }

    /// What the evaluator says, at its place in the file.
    pub(super) fn told(&self, error: &starlark::Error) -> StarlarkError {
        let message = StarlarkError::of_evaluator(&self.file, error);
        match error.span() {
            // A failure inside a built-in function is told at the innermost place of the file itself.
            Some(span) => self.error(
                self.original_place(span.span.begin().get() as usize),
                self.original_place(span.span.end().get() as usize),
                message.message,
            ),
            None => message,
        }
    }

    fn error(&self, from: usize, to: usize, message: String) -> StarlarkError {
        let before = &self.original[..from];
        let line = before.matches('\n').count() as u32 + 1;
        let column = before[before.rfind('\n').map_or(0, |at| at + 1)..].chars().count() as u32 + 1;
        StarlarkError {
            place: Some((line, column)),
            excerpt: excerpt(&self.original[from..to.max(from)]),
            ..StarlarkError::of_file(&self.file, message)
        }
    }

    /// Where a place of the rewritten text is in the file.
    fn original_place(&self, at: usize) -> usize {
        let mut more = 0;
        for (place, piece) in &self.put_in {
            if at <= place + more {
                break;
            }
            if at < place + more + piece.len() {
                return *place;
            }
            more += piece.len();
        }
        (at - more).min(self.original.len())
    }
}

/// What is to be put into a file.
fn sites(ast: &AstModule) -> Vec<(usize, &'static str)> {
    let mut walk = Walk::default();
    walk.statement(ast.statement());
    ast.statement().visit_expr(|value| walk.expression(value));
    walk.put_in
}

#[derive(Default)]
struct Walk {
    put_in: Vec<(usize, &'static str)>,
}

const ALL: &str = "__all_of((";
const ALONG: &str = "__along((";
const ADDED: &str = "__added((";
const HOLDER: &str = "__holder((";
const MOVED: &str = "__moved((";
const PART_OF: &str = "__part_of((";
const OURS: [&str; 6] = [ALL, ALONG, ADDED, HOLDER, MOVED, PART_OF];

impl Walk {
    /// Puts a call round an expression, unless there is nothing to measure in it or it is in one.
    fn wrap(&mut self, with: &'static str, value: &AstExpr) {
        let empty = match &value.node {
            Expr::List(entries) => entries.is_empty(),
            Expr::Dict(entries) => entries.is_empty(),
            Expr::Literal(literal) => !matches!(literal, AstLiteral::String(text) if text.node.len() > 256),
            Expr::Lambda(_) => true,
            _ => false,
        };
        if (!empty || with == HOLDER) && !is_ours(value) {
            self.put_in.push((value.span.begin().get() as usize, with));
            self.put_in.push((value.span.end().get() as usize, "))"));
        }
    }

    /// What is assigned to in a statement and in those that it holds.
    fn statement(&mut self, statement: &AstStmt) {
        match &statement.node {
            Stmt::Assign(assign) => self.target(&assign.lhs.node),
            Stmt::AssignModify(target, _, value) => {
                self.target(&target.node);
                self.wrap(ADDED, value);
            }
            Stmt::For(each) => self.target(&each.var.node),
            _ => {}
        }
        statement.visit_stmt(|below| self.statement(below));
    }

    /// Keys of what is assigned to.
    fn target(&mut self, target: &AssignTarget) {
        match target {
            AssignTargetP::Index(both) => self.wrap(ALL, &both.1),
            AssignTargetP::Tuple(targets) => targets.iter().for_each(|target| self.target(&target.node)),
            AssignTargetP::Dot(..) | AssignTargetP::Identifier(_) => {}
        }
    }

    fn expression(&mut self, value: &AstExpr) {
        match &value.node {
            Expr::Index(both) => {
                let named = matches!(&both.1.node, Expr::Literal(AstLiteral::String(_)));
                if !named {
                    self.wrap(PART_OF, &both.0);
                }
                self.wrap(ALL, &both.1);
            }
            Expr::Slice(of, from, to, step) => {
                self.wrap(PART_OF, of);
                [from, to, step].into_iter().flatten().for_each(|place| self.wrap(ALL, place));
            }
            Expr::Dict(entries) => entries.iter().for_each(|(key, _)| self.wrap(ALL, key)),
            Expr::DictComprehension(both, first, clauses) => {
                self.wrap(ALL, &both.0);
                self.clauses(first, clauses);
            }
            Expr::ListComprehension(_, first, clauses) => self.clauses(first, clauses),
            Expr::Dot(of, name) if look(&name.node).is_some() => self.wrap(HOLDER, of),
            Expr::Call(function, args) => return self.call(function, &args.args),
            _ => {}
        }
        value.visit_expr(|inner| self.expression(inner));
    }

    fn clauses(&mut self, first: &ForClause, clauses: &[Clause]) {
        self.target(&first.var.node);
        for clause in clauses {
            if let ClauseP::For(each) = clause {
                self.target(&each.var.node);
            }
        }
    }

    fn call(&mut self, function: &AstExpr, args: &[AstArgument]) {
        let method = match &function.node {
            Expr::Dot(of, name) => look(&name.node).map(|look| (of, look)),
            _ => None,
        };
        if let Some((of, look)) = method {
            match look {
                Look::All => self.wrap(ALL, of),
                Look::Along => self.wrap(ALONG, of),
                Look::Moved => self.wrap(MOVED, of),
                Look::No => {}
            }
            self.expression(of);
        } else {
            self.expression(function);
        }
        for arg in args {
            match &arg.node {
                ArgumentP::Args(value) | ArgumentP::KwArgs(value) => self.wrap(ALONG, value),
                ArgumentP::Positional(value) | ArgumentP::Named(_, value) if method.is_some() => self.wrap(ALL, value),
                ArgumentP::Positional(_) | ArgumentP::Named(..) => {}
            }
            self.expression(arg.node.expr());
        }
    }
}

/// True for the name of a method of texts, lists or dicts.
pub(super) fn is_method(name: &str) -> bool {
    look(name).is_some()
}

fn look(name: &str) -> Option<Look> {
    METHODS.iter().find(|(_, names)| names.contains(&name)).map(|(look, _)| *look)
}

fn is_ours(value: &AstExpr) -> bool {
    let Expr::Call(function, _) = &value.node else { return false };
    let Expr::Identifier(name) = &function.node else { return false };
    OURS.iter().any(|ours| ours.trim_end_matches('(') == name.node.ident)
}
