//! What can be said for sure of the kinds of values in a file without running it: a number has no methods and no length, a text is
//! not added to a number, and a built-in function takes so many values.
//!
//! Only what is written out is followed, no variables: everything that is told here fails whenever it is reached. A file may reach
//! it for the first time in a night of load, and be answered by `queue_delay` from then on.

use std::collections::BTreeSet;

use starlark::codemap::Span;
use starlark::syntax::ast::{
    ArgumentP, AssignTarget, AssignTargetP, AstArgument, AstExpr, AstLiteral, AstStmt, BinOp, Clause, ClauseP, Expr,
    ParameterP, Stmt,
};

use super::meter;
use super::view;

/// A built-in function: its name, fewest and most values in order, what may be given by name, the kind of the result, and what the first
/// value has to be.
type Function = (&'static str, usize, usize, &'static [&'static str], Kind, First);

/// All of them.
const FUNCTIONS: [Function; 25] = [
    ("abs", 1, 1, &[], Kind::Number, First::Number),
    ("all", 1, 1, &[], Kind::Bool, First::Entries),
    ("any", 1, 1, &[], Kind::Bool, First::Entries),
    ("bool", 0, 1, &[], Kind::Bool, First::Any),
    ("ceil_div", 2, 2, &[], Kind::Number, First::Number),
    ("chr", 1, 1, &[], Kind::Text, First::Number),
    ("dict", 0, 1, &[], Kind::Dict, First::Entries),
    ("enumerate", 1, 2, &["start"], Kind::List, First::Entries),
    ("float", 0, 1, &[], Kind::Number, First::Any),
    ("hash", 1, 1, &[], Kind::Number, First::Any),
    ("int", 0, 2, &["base"], Kind::Number, First::Any),
    ("len", 1, 1, &[], Kind::Number, First::Entries),
    ("list", 0, 1, &[], Kind::List, First::Entries),
    ("max", 1, usize::MAX, &["key"], Kind::Unknown, First::Any),
    ("min", 1, usize::MAX, &["key"], Kind::Unknown, First::Any),
    ("ord", 1, 1, &[], Kind::Number, First::Any),
    ("range", 1, 3, &[], Kind::List, First::Number),
    ("repr", 1, 1, &[], Kind::Text, First::Any),
    ("reversed", 1, 1, &[], Kind::List, First::Entries),
    ("sorted", 1, 1, &["key", "reverse"], Kind::List, First::Entries),
    ("str", 1, 1, &[], Kind::Text, First::Any),
    ("sum", 1, 1, &[], Kind::Number, First::Entries),
    ("tuple", 0, 1, &[], Kind::Tuple, First::Entries),
    ("type", 1, 1, &[], Kind::Text, First::Any),
    ("waiting_longer_than", 1, 1, &[], Kind::Number, First::Number),
];

/// Functions of `math`, each of one value but the last.
const MATHEMATICS: [&str; 9] = ["ceil", "floor", "round", "sqrt", "exp", "log", "sin", "cos", "pow"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    /// Or None.
    MaybeNumber,
    Text,
    Bool,
    List,
    Tuple,
    Dict,
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Any,
    Number,
    Entries,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Number | Kind::MaybeNumber => "a number",
            Kind::Text => "a text",
            Kind::Bool => "True or False",
            Kind::List => "a list",
            Kind::Tuple => "a tuple",
            Kind::Dict => "a dict",
            Kind::Unknown => "a value",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Kind::Number | Kind::MaybeNumber)
    }

    fn holds_others(self) -> bool {
        matches!(self, Kind::List | Kind::Tuple | Kind::Dict)
    }
}

/// What the names of a file mean.
#[derive(Default)]
pub(super) struct Names {
    /// Of the observation.
    observation: Option<String>,
    /// Given to something of the file itself, anywhere in it.
    own: BTreeSet<String>,
}

impl Names {
    /// Collects them.
    pub(super) fn new(file: &AstStmt, observation: Option<&str>) -> Names {
        let mut names = Names::default();
        names.statement(file);
        file.visit_expr(|value| names.expression(value));
        // As a parameter it is what it is in `advise`, but not once it was given something else.
        names.observation = observation.filter(|name| !names.own.contains(*name)).map(str::to_owned);
        names
    }

    fn statement(&mut self, statement: &AstStmt) {
        match &statement.node {
            Stmt::Assign(assign) => self.target(&assign.lhs.node),
            Stmt::AssignModify(target, ..) => self.target(&target.node),
            Stmt::For(each) => self.target(&each.var.node),
            Stmt::Def(def) => {
                self.own.insert(def.name.node.ident.clone());
                // Parameters hide built-in functions of their name; the observation is one everywhere.
                let params = def.params.iter().filter_map(|param| param.node.ident());
                self.own.extend(params.map(|name| format!("({})", name.node.ident)));
            }
            _ => {}
        }
        statement.visit_stmt(|below| self.statement(below));
    }

    fn target(&mut self, target: &AssignTarget) {
        match target {
            AssignTargetP::Tuple(targets) => targets.iter().for_each(|target| self.target(&target.node)),
            AssignTargetP::Identifier(name) => {
                self.own.insert(name.node.ident.clone());
            }
            AssignTargetP::Index(_) | AssignTargetP::Dot(..) => {}
        }
    }

    fn clauses(&mut self, clauses: &[Clause]) {
        for clause in clauses {
            if let ClauseP::For(each) = clause {
                self.target(&each.var.node);
            }
        }
    }

    fn expression(&mut self, value: &AstExpr) {
        match &value.node {
            Expr::ListComprehension(_, first, clauses) => {
                self.target(&first.var.node);
                self.clauses(clauses);
            }
            Expr::DictComprehension(_, first, clauses) => {
                self.target(&first.var.node);
                self.clauses(clauses);
            }
            Expr::Lambda(lambda) => {
                let names = lambda.params.iter().filter_map(|param| match &param.node {
                    ParameterP::Normal(name, ..) | ParameterP::Args(name, _) | ParameterP::KwArgs(name, _) => {
                        Some(name.node.ident.clone())
                    }
                    ParameterP::Slash | ParameterP::NoArgs => None,
                });
                self.own.extend(names);
            }
            _ => {}
        }
        value.visit_expr(|inner| self.expression(inner));
    }

    fn is_own(&self, name: &str) -> bool {
        self.own.contains(name) || self.own.contains(&format!("({name})"))
    }

    fn is_math(&self, of: &AstExpr) -> bool {
        matches!(&of.node, Expr::Identifier(name) if name.node.ident == "math") && !self.is_own("math")
    }

    fn kind(&self, value: &AstExpr) -> Kind {
        match &value.node {
            Expr::Literal(AstLiteral::Int(_) | AstLiteral::Float(_)) => Kind::Number,
            Expr::Literal(AstLiteral::String(_)) => Kind::Text,
            Expr::List(_) | Expr::ListComprehension(..) => Kind::List,
            Expr::Dict(_) | Expr::DictComprehension(..) => Kind::Dict,
            Expr::Tuple(_) => Kind::Tuple,
            Expr::Not(_) => Kind::Bool,
            Expr::Minus(of) | Expr::Plus(of) if self.kind(of) == Kind::Number => Kind::Number,
            Expr::Dot(of, field) => self.field(of, &field.node),
            Expr::Call(function, _) => match &function.node {
                Expr::Dot(of, _) if self.is_math(of) => Kind::Number,
                Expr::Identifier(name) if !self.is_own(&name.node.ident) => {
                    let known = FUNCTIONS.iter().find(|(known, ..)| *known == name.node.ident);
                    known.map_or(Kind::Unknown, |(.., kind, _)| *kind)
                }
                _ => Kind::Unknown,
            },
            Expr::Op(left, op, right) => self.result(left, *op, right),
            Expr::If(three) => {
                let (first, second) = (self.kind(&three.1), self.kind(&three.2));
                if first == second { first } else { Kind::Unknown }
            }
            _ => Kind::Unknown,
        }
    }

    fn field(&self, of: &AstExpr, field: &str) -> Kind {
        let Expr::Identifier(name) = &of.node else { return Kind::Unknown };
        if self.observation.as_ref() != Some(&name.node.ident) {
            return Kind::Unknown;
        }
        match field {
            "trigger" => Kind::Text,
            "workers" => Kind::List,
            "oldest_wait_s" | "last_start_s" | "mean_start_s" | "mean_stop_s" => Kind::MaybeNumber,
            _ if view::FIELDS.iter().any(|known| known.name == field) => Kind::Number,
            _ => Kind::Unknown,
        }
    }

    fn result(&self, left: &AstExpr, op: BinOp, right: &AstExpr) -> Kind {
        let (left, right) = (self.kind(left), self.kind(right));
        match op {
            BinOp::Equal
            | BinOp::NotEqual
            | BinOp::Less
            | BinOp::Greater
            | BinOp::LessOrEqual
            | BinOp::GreaterOrEqual
            | BinOp::In
            | BinOp::NotIn => Kind::Bool,
            BinOp::Add if left == right && left != Kind::Bool => left,
            BinOp::Subtract | BinOp::Multiply | BinOp::Divide | BinOp::FloorDivide | BinOp::Percent
                if (left, right) == (Kind::Number, Kind::Number) =>
            {
                Kind::Number
            }
            _ => Kind::Unknown,
        }
    }

    /// What fails in an expression whenever it is reached, not counting what is in it: where, and why.
    pub(super) fn problem(&self, value: &AstExpr) -> Option<(Span, String)> {
        match &value.node {
            Expr::Op(left, op, right) => self.operation(left, *op, right).map(|problem| (value.span, problem)),
            Expr::Dot(of, field) if self.is_math(of) => {
                let missing = !MATHEMATICS.contains(&field.node.as_str());
                missing.then(|| {
                    (field.span, format!("`math` has none of this name; there is: {}", MATHEMATICS.join(", ")))
                })
            }
            Expr::Dot(of, name) => {
                let kind = self.kind(of);
                let texts = matches!(kind, Kind::Text) || kind.holds_others();
                let none = kind.is_number() || kind == Kind::Bool || (texts && !meter::is_method(&name.node));
                none.then(|| (name.span, format!("{} has no field or method of this name", kind.words())))
            }
            Expr::Call(function, args) => self.call(function, &args.args).map(|problem| (value.span, problem)),
            _ => None,
        }
    }

    fn operation(&self, left: &AstExpr, op: BinOp, right: &AstExpr) -> Option<String> {
        let (left, right) = (self.kind(left), self.kind(right));
        let known = ![left, right].iter().any(|kind| matches!(kind, Kind::Unknown | Kind::Bool));
        let alike = left == right || (left.is_number() && right.is_number());
        let (wrong, what) = match op {
            BinOp::Add => (known && !alike, "cannot be added"),
            BinOp::Less | BinOp::Greater | BinOp::LessOrEqual | BinOp::GreaterOrEqual => {
                (known && !alike, "cannot be compared")
            }
            BinOp::Subtract | BinOp::Divide | BinOp::FloorDivide => {
                let no_number = |kind: Kind| kind == Kind::Text || kind.holds_others();
                (no_number(left) || no_number(right), "give no number")
            }
            BinOp::In | BinOp::NotIn => {
                (right.is_number() || right == Kind::Bool, "is no question: the second holds nothing")
            }
            _ => (false, ""),
        };
        wrong.then(|| format!("{} and {} {what}", left.words(), right.words()))
    }

    fn call(&self, function: &AstExpr, args: &[AstArgument]) -> Option<String> {
        if args.iter().any(|arg| matches!(arg.node, ArgumentP::Args(_) | ArgumentP::KwArgs(_))) {
            return None;
        }
        let (name, fewest, most, named, first) = match &function.node {
            Expr::Dot(of, name) if self.is_math(of) && MATHEMATICS.contains(&name.node.as_str()) => {
                let count = if name.node == "pow" { 2 } else { 1 };
                (format!("math.{}", name.node), count, count, &[][..], First::Number)
            }
            Expr::Identifier(name) if !self.is_own(&name.node.ident) => {
                let known = FUNCTIONS.iter().find(|(known, ..)| *known == name.node.ident)?;
                (known.0.to_owned(), known.1, known.2, known.3, known.5)
            }
            _ => return None,
        };
        let given: Vec<&AstExpr> = args
            .iter()
            .filter_map(|arg| match &arg.node {
                ArgumentP::Positional(value) => Some(value),
                _ => None,
            })
            .collect();
        let by_name = args.iter().find_map(|arg| match &arg.node {
            ArgumentP::Named(name, _) if !named.contains(&name.node.as_str()) => Some(&name.node),
            _ => None,
        });
        if let Some(unknown) = by_name {
            return Some(format!("`{name}()` takes nothing named `{unknown}`"));
        }
        if given.len() < fewest || given.len() > most {
            let wanted = match (fewest, most) {
                (_, usize::MAX) => format!("at least {fewest}"),
                _ if fewest == most => fewest.to_string(),
                _ => format!("{fewest} to {most}"),
            };
            return Some(format!("`{name}()` takes {wanted} values, here are {}", given.len()));
        }
        let kind = given.first().map_or(Kind::Unknown, |value| self.kind(value));
        let wrong = match first {
            First::Any => false,
            First::Number => kind == Kind::Text || kind.holds_others(),
            First::Entries => kind.is_number() || kind == Kind::Bool,
        };
        wrong.then(|| format!("`{name}()` is given {}", kind.words()))
    }
}
