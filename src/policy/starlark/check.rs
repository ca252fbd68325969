//! What can be told of a file without running it: what stands at its top level, names of fields, operations that are not there.

use std::collections::BTreeSet;

use starlark::codemap::Span;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{
    ArgumentP, AssignOp, AssignTarget, AstExpr, AstLiteral, AstNoPayload, AstStmt, Expr, ParameterP, Stmt,
};

use super::super::params::near;
use super::StarlarkError;
use super::types::Names;
use super::view;

/// Names at the top level that mean something.
pub const SETTINGS: [&str; 6] = ["PARAMS", "TICK_S", "FIRST_ASK_S", "INIT_STATE", "USES_IDLE_TIMEOUT", "SUMMARY"];

/// Functions that are called by name, with the number of their parameters.
pub const ENTRY_POINTS: [(&str, &str, usize); 2] =
    [("advise", "obs, state, params", 3), ("idle_timeout", "worker, idle, state, params", 4)];

/// Methods that multiply the size of what they are given, and what to write in their place.
const METHODS_REFUSED: [(&str, &str); 3] = [
    ("join", "add the texts with `+`"),
    ("replace", "build the text with `+` or `%`"),
    ("format", "write `\"%d of %d\" % (a, b)`"),
];

/// Longest whole number that is written out, in letters: 64 binary digits and `0b`.
const DIGITS_MAX: usize = 66;

/// A function of the file as it is written.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Names of its parameters, in order.
    pub params: Vec<String>,
    /// Parameters without a default; more values than parameters if it takes any number of them.
    counts: (usize, usize),
    /// Line and column of its name.
    pub place: (u32, u32),
}

/// What a file consists of.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Functions, in order.
    pub functions: Vec<Signature>,
    /// Names given a value at the top level, and entries of `PARAMS` as `PARAMS.name`, with line and column.
    pub places: Vec<(String, (u32, u32))>,
    /// Every name that stands after a dot.
    pub attributes: BTreeSet<String>,
    /// Parameters that are read, each with what to say if there is none of that name.
    pub params_read: Vec<(String, StarlarkError)>,
}

impl Contents {
    /// Where a setting stands, or a parameter in it.
    pub fn place_of(&self, setting: &str, param: &str) -> Option<(u32, u32)> {
        let whole = format!("{setting}.{param}");
        let find = |name: &str| self.places.iter().find(|(known, _)| known == name).map(|(_, place)| *place);
        find(&whole).or_else(|| find(setting))
    }
}

struct Walk<'a> {
    ast: &'a AstModule,
    contents: Contents,
    /// Name of the observation, wherever it is passed on under the same name.
    observation: Option<String>,
    /// Names of the parameters in the functions that get them.
    params: Vec<String>,
    names: Names,
    errors: Vec<StarlarkError>,
}

/// Checks a parsed file.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn check(ast: &AstModule) -> Result<Contents, Vec<StarlarkError>> {
    let mut walk = Walk {
        ast,
        contents: Contents::default(),
        observation: None,
        params: Vec::new(),
        names: Names::default(),
        errors: Vec::new(),
    };
    let top = statements(ast.statement());
    for statement in &top {
        walk.signature(statement);
    }
    walk.names = Names::new(ast.statement(), walk.observation.as_deref());
    for statement in &top {
        walk.top(statement);
    }
    if walk.errors.is_empty() { Ok(walk.contents) } else { Err(walk.errors) }
}

fn statements(statement: &AstStmt) -> Vec<&AstStmt> {
    match &statement.node {
        Stmt::Statements(inner) => inner.iter().flat_map(statements).collect(),
        _ => vec![statement],
    }
}

impl Walk<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.errors.push(StarlarkError::at(self.ast, span, message));
    }

    /// Notes a function, and holds those that are called from outside against what they are called with.
    fn signature(&mut self, statement: &AstStmt) {
        let Stmt::Def(def) = &statement.node else { return };
        let name = def.name.node.ident.clone();
        let normal = def.params.iter().all(|param| matches!(param.node, ParameterP::Normal(_, _, None)));
        let params: Vec<String> =
            def.params.iter().filter_map(|param| param.node.ident()).map(|ident| ident.node.ident.clone()).collect();
        if let Some((_, wanted, count)) = ENTRY_POINTS.iter().find(|(known, ..)| *known == name) {
            if params.len() != *count || !normal {
                self.error(def.signature_span(), format!("`{name}` takes ({wanted}), without defaults"));
            } else {
                self.params.extend(params.last().cloned());
                if name == "advise" {
                    self.observation = params.first().cloned();
                }
            }
        }
        if self.contents.functions.iter().any(|known| known.name == name) {
            self.error(def.name.span, "a function of this name is there already: one of them never runs");
        }
        let required = def.params.iter().filter(|param| matches!(param.node, ParameterP::Normal(_, _, None))).count();
        let open = def.params.iter().any(|param| matches!(param.node, ParameterP::Args(..) | ParameterP::KwArgs(..)));
        let counts = (required, if open { usize::MAX } else { params.len() });
        let place = self.place(def.name.span);
        self.contents.functions.push(Signature { name, params, counts, place });
    }

    fn top(&mut self, statement: &AstStmt) {
        match &statement.node {
            Stmt::Def(def) => {
                self.name(&def.name.node.ident, def.name.span);
                self.body(statement);
                statement.visit_expr(|value| self.expression(value));
            }
            Stmt::Assign(assign) => {
                let AssignTarget::Identifier(name) = &assign.lhs.node else {
                    return self.error(statement.span, "at the top level a value is given to one name at a time");
                };
                self.name(&name.node.ident, name.span);
                self.note_places(&name.node.ident, name.span, &assign.rhs);
                self.constant(&assign.rhs);
                self.expression(&assign.rhs);
            }
            Stmt::Expression(AstExpr { node: Expr::Literal(AstLiteral::String(_)), .. }) | Stmt::Pass => {}
            Stmt::Load(_) => self.error(statement.span, "a policy is one file: it loads no other"),
            _ => self.error(statement.span, "at the top level stand `def` and `NAME = value` only"),
        }
    }

    fn name(&mut self, name: &str, span: Span) {
        let near = |known: &str| name != known && strsim::damerau_levenshtein(known, name) <= 2;
        if name.starts_with("__") {
            self.error(span, "names that begin with `__` are taken");
        } else if name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            && let Some(known) = SETTINGS.iter().find(|known| near(known))
        {
            self.error(span, format!("no setting has this name; did you mean `{known}`?"));
        }
    }

    fn place(&self, span: Span) -> (u32, u32) {
        let at = self.ast.file_span(span).resolve_span().begin;
        (at.line as u32 + 1, at.column as u32 + 1)
    }

    fn note_places(&mut self, name: &str, span: Span, value: &AstExpr) {
        let place = self.place(span);
        self.contents.places.push((name.to_owned(), place));
        let Expr::Dict(entries) = &value.node else { return };
        for (key, _) in entries.iter().filter(|_| name == "PARAMS") {
            if let Expr::Literal(AstLiteral::String(text)) = &key.node {
                let place = self.place(key.span);
                self.contents.places.push((format!("PARAMS.{}", text.node), place));
            }
        }
    }

    /// Values at the top level are written out: nothing runs before the policy is asked.
    fn constant(&mut self, value: &AstExpr) {
        match &value.node {
            Expr::Call(..) => self.error(value.span, "a call at the top level: call it in a function"),
            Expr::ListComprehension(..) | Expr::DictComprehension(..) => {
                self.error(value.span, "a comprehension at the top level: write it in a function");
            }
            Expr::Lambda(_) => self.error(value.span, "a `lambda` at the top level: write a `def`"),
            _ => value.visit_expr(|inner| self.constant(inner)),
        }
    }

    fn body(&mut self, statement: &AstStmt) {
        match &statement.node {
            Stmt::AssignModify(target, op, value) => self.modified(statement, target.span, *op, value.span),
            Stmt::Load(_) => self.error(statement.span, "a policy is one file: it loads no other"),
            _ => {}
        }
        let mut inner = Vec::new();
        statement.visit_stmt(|below| inner.push(below));
        for below in inner {
            self.body(below);
        }
    }

    fn modified(&mut self, statement: &AstStmt, target: Span, op: AssignOp, value: Span) {
        if !matches!(op, AssignOp::Multiply | AssignOp::Percent | AssignOp::LeftShift) {
            return;
        }
        let text = |span: Span| super::error::excerpt(self.ast.file_span(span).source_span());
        let sign = op.to_string();
        let (sign, left, right) = (sign.trim().trim_end_matches('='), text(target), text(value));
        self.error(statement.span, format!("`{sign}=` is not there: write `{left} = {left} {sign} {right}`"));
    }

    fn expression(&mut self, value: &AstExpr) {
        if let Some((span, problem)) = self.names.problem(value) {
            self.error(span, problem);
        }
        match &value.node {
            Expr::Dot(of, field) => {
                self.contents.attributes.insert(field.node.clone());
                if let Some((_, instead)) = METHODS_REFUSED.iter().find(|(name, _)| *name == field.node) {
                    self.error(value.span, format!("`.{}()` is not there: {instead}", field.node));
                }
                if let Expr::Identifier(name) = &of.node {
                    if Some(&name.node.ident) == self.observation.as_ref() {
                        self.field(&field.node, field.span);
                    } else if self.params.contains(&name.node.ident) {
                        let error = StarlarkError::at(self.ast, field.span, "PARAMS has no parameter of this name");
                        self.contents.params_read.push((field.node.clone(), error));
                    }
                }
            }
            Expr::Identifier(name) if name.node.ident.starts_with("__") => {
                self.error(value.span, "names that begin with `__` are taken");
            }
            Expr::Call(function, args) => self.call(function, &args.args.iter().map(|a| &a.node).collect::<Vec<_>>()),
            Expr::FString(_) => self.error(value.span, "texts are built with `%`"),
            Expr::Literal(AstLiteral::Int(_)) if self.ast.file_span(value.span).source_span().len() > DIGITS_MAX => {
                self.error(value.span, "a whole number beyond 64 bits");
            }
            _ => {}
        }
        value.visit_expr(|inner| self.expression(inner));
    }

    fn field(&mut self, field: &str, span: Span) {
        if view::FIELDS.iter().any(|known| known.name == field) {
            return;
        }
        let names: Vec<&str> = view::FIELDS.iter().map(|known| known.name).collect();
        let hint = match near(field, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there is: {}", names.join(", ")),
        };
        self.error(span, format!("the observation has no field of this name; {hint}"));
    }

    /// Calls of the file's own functions are held against their parameters.
    fn call(&mut self, function: &AstExpr, args: &[&ArgumentP<AstNoPayload>]) {
        let Expr::Identifier(name) = &function.node else { return };
        let Some(known) = self.contents.functions.iter().find(|known| known.name == name.node.ident) else { return };
        if args.iter().any(|arg| matches!(arg, ArgumentP::Args(_) | ArgumentP::KwArgs(_))) {
            return;
        }
        let positional = args.iter().filter(|arg| matches!(arg, ArgumentP::Positional(_))).count();
        let (fewest, most) = known.counts;
        if positional > most || args.len() < fewest {
            let wanted =
                if fewest < most.min(known.params.len()) { format!("at least {fewest}") } else { most.to_string() };
            let message = format!("`{}` takes {wanted} values, here are {}", known.name, args.len());
            self.error(function.span, message);
        }
    }
}
