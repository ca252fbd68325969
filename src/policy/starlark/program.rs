//! A policy's file, checked and ready to be called.

use std::collections::BTreeMap;

use starlark::environment::{FrozenModule, Module};
use starlark::syntax::{AstModule, Dialect};
use starlark::values::structs::AllocStruct;
use starlark::values::{OwnedFrozenValue, Value};

use super::super::{AskedAt, IdleStart, Observation, ParamValue};
use super::answer::Answer;
use super::check::{self, Contents};
use super::data::Data;
use super::meter::Metered;
use super::operators::OPERATORS;
use super::view::{self, Overdue};
use super::{StarParam, StarlarkError, answer, guard, limits, outline, params};
use crate::units::Span;

/// Where the values of the parameters stand in the frozen module; no file can write this name.
const VALUES: &str = "__params";

/// The language: functions, no loading of other files, no texts with values in them.
const DIALECT: Dialect = Dialect {
    enable_def: true,
    enable_lambda: true,
    enable_load: false,
    enable_keyword_only_arguments: false,
    enable_positional_only_arguments: false,
    enable_types: starlark::syntax::DialectTypes::Disable,
    enable_load_reexport: false,
    enable_top_level_stmt: false,
    enable_f_strings: false,
    _non_exhaustive: (),
};

/// A file that is ready to be called.
#[derive(Debug)]
pub struct Program {
    name: String,
    contents: Contents,
    metered: Metered,
    settings: Settings,
    advise: Option<OwnedFrozenValue>,
    idle_timeout: Option<OwnedFrozenValue>,
    values: OwnedFrozenValue,
    /// The fields of the observation that the file names.
    used: Vec<usize>,
}

/// What the top level of a file says.
#[derive(Clone, Debug)]
struct Settings {
    summary: String,
    params: Vec<StarParam>,
    asked_at: AskedAt,
    init_state: Data,
    uses_idle_timeout: bool,
    first_ask: Option<Span>,
}

impl Program {
    /// Checks the text of the file called `name` and gives its parameters their values.
    ///
    /// # Errors
    /// At least one: everything wrong with the text that can be told at once, or the first of its parameters.
    pub fn compile(
        name: &str,
        text: &str,
        given: &BTreeMap<String, ParamValue>,
    ) -> Result<Program, Vec<StarlarkError>> {
        // What some editors put before a text says how it is encoded.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        outline::check(name, text).map_err(|error| vec![error])?;
        let parsed = |text: String| {
            let told = |error: starlark::Error| vec![StarlarkError::of_evaluator(name, &error)];
            AstModule::parse(name, text, &DIALECT).map_err(told)
        };
        let ast = parsed(text.to_owned())?;
        let contents = check::check(&ast)?;
        let (metered, ast) = metered(&ast, text, parsed)?;
        let (module, settings) = Module::with_temp_heap(|module| {
            let mut steps = 0;
            let ran = limits::evaluator(&module, &mut steps).eval_module(ast, &guard::GLOBALS);
            ran.map_err(|error| vec![metered.told(&error)])?;
            let settings = settings(name, &contents, &module)?;
            let values = params::values(&settings.params, given).map_err(|(param, problem)| {
                vec![StarlarkError::of_file(name, format!("parameter `{param}`: {problem}"))]
            })?;
            let values = with_tick(values, &settings);
            let heap = module.heap();
            let fields = values.1.iter().map(|(name, value)| (name.as_str(), value.to_value(heap)));
            module.set(VALUES, heap.alloc(AllocStruct(fields)));
            let frozen = module.freeze().map_err(|error| vec![StarlarkError::of_file(name, error.err_msg)])?;
            Ok::<_, Vec<StarlarkError>>((frozen, Settings { asked_at: values.0, ..settings }))
        })?;
        unknown_params(&contents, &settings.params)?;
        let used = view::used(contents.attributes.iter().map(String::as_str));
        let function = |known: &str| -> Option<OwnedFrozenValue> {
            contents.functions.iter().find(|function| function.name == known)?;
            value_of(&module, known)
        };
        Ok(Program {
            name: name.to_owned(),
            advise: function("advise"),
            idle_timeout: function("idle_timeout"),
            values: value_of(&module, VALUES).expect("it was set before the module was frozen"),
            used,
            metered,
            contents,
            settings,
        })
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `SUMMARY` says; empty without one.
    pub fn summary(&self) -> &str {
        &self.settings.summary
    }

    /// The parameters it declares, in order.
    pub fn params(&self) -> &[StarParam] {
        &self.settings.params
    }

    /// True if it has `advise`.
    pub fn scales(&self) -> bool {
        self.advise.is_some()
    }

    /// True if it has `idle_timeout`.
    pub fn keeps_alive(&self) -> bool {
        self.idle_timeout.is_some()
    }

    /// When `advise` wants to be called.
    pub fn asked_at(&self) -> AskedAt {
        self.settings.asked_at
    }

    /// False if it brings workers down itself.
    pub fn uses_idle_timeout(&self) -> bool {
        self.settings.uses_idle_timeout
    }

    /// How long after the endpoint came to be it wants to be asked, jobs or not.
    pub fn first_ask(&self) -> Option<Span> {
        self.settings.first_ask
    }

    /// The state before the first call.
    pub fn init_state(&self) -> &Data {
        &self.settings.init_state
    }

    /// That the function `wanted` is not there, with one that may be meant.
    pub fn missing(&self, wanted: &str) -> StarlarkError {
        let (_, takes, _) = check::ENTRY_POINTS.iter().find(|(known, ..)| *known == wanted).expect("a known function");
        let near = self
            .contents
            .functions
            .iter()
            .find(|function| function.name != wanted && strsim::damerau_levenshtein(&function.name, wanted) <= 3);
        match near {
            Some(function) => StarlarkError {
                place: Some(function.place),
                excerpt: function.name.clone(),
                ..StarlarkError::of_file(&self.name, format!("there is no `def {wanted}({takes})`; is this it?"))
            },
            None => StarlarkError::of_file(&self.name, format!("there is no `def {wanted}({takes})`")),
        }
    }

    /// Calls `advise`; gives its answer and the new state.
    ///
    /// # Errors
    /// If the call fails, does too much, or answers something else.
    pub(super) fn advise(
        &self,
        seen: &Observation<'_>,
        state: &Data,
        overdue: &Overdue,
    ) -> Result<(Answer, Data), StarlarkError> {
        let Some(function) = &self.advise else { return Err(self.missing("advise")) };
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            let kept = state.to_value(heap);
            let args = [view::observation(seen, &self.used, heap), kept, heap.access_owned_frozen_value(&self.values)];
            let mut steps = 0;
            let mut evaluator = limits::evaluator(&module, &mut steps);
            evaluator.extra = Some(overdue);
            let answer = evaluator.eval_function(heap.access_owned_frozen_value(function), &args, &[]);
            let answer = answer.map_err(|error| self.failed("advise", &error))?;
            let (answer, state) = answer::split(answer);
            let wrong = |problem| self.at_function("advise", problem);
            let advice = answer::advice(answer).map_err(wrong)?;
            Ok((advice, Data::from_value(state.unwrap_or(kept)).map_err(wrong)?))
        })
    }

    /// Calls `idle_timeout`; gives its answer and the new state.
    ///
    /// # Errors
    /// As [`Self::advise`].
    pub(super) fn idle_timeout(
        &self,
        idle: &IdleStart<'_>,
        state: &Data,
    ) -> Result<(Option<Span>, Data), StarlarkError> {
        let Some(function) = &self.idle_timeout else { return Err(self.missing("idle_timeout")) };
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            let kept = state.to_value(heap);
            let args: [Value<'_>; 4] = [
                view::worker(idle.worker, heap),
                view::idle(idle, heap),
                kept,
                heap.access_owned_frozen_value(&self.values),
            ];
            let mut steps = 0;
            let mut evaluator = limits::evaluator(&module, &mut steps);
            let answer = evaluator.eval_function(heap.access_owned_frozen_value(function), &args, &[]);
            let answer = answer.map_err(|error| self.failed("idle_timeout", &error))?;
            let (answer, state) = answer::split(answer);
            let wrong = |problem| self.at_function("idle_timeout", problem);
            let timeout = answer::timeout(answer).map_err(wrong)?;
            Ok((timeout, Data::from_value(state.unwrap_or(kept)).map_err(wrong)?))
        })
    }

    /// A call of a function that failed: told where it did, or at its `def` where that is not known.
    fn failed(&self, function: &str, error: &starlark::Error) -> StarlarkError {
        let error = self.metered.told(error);
        if error.place.is_some() { error } else { self.at_function(function, error.message) }
    }

    /// A mistake in what a function answers: told at its `def`.
    fn at_function(&self, name: &str, problem: String) -> StarlarkError {
        let place = self.contents.functions.iter().find(|function| function.name == name).map(|found| found.place);
        StarlarkError { place, ..StarlarkError::of_file(&self.name, problem) }
    }
}

/// A checked file with everything measured in it that could take any time.
fn metered(
    ast: &AstModule,
    text: &str,
    parsed: impl Fn(String) -> Result<AstModule, Vec<StarlarkError>>,
) -> Result<(Metered, AstModule), Vec<StarlarkError>> {
    let metered = Metered::new(ast, text);
    metered.nesting().map_err(|error| vec![error])?;
    let mut ast = parsed(metered.text())?;
    metered.verify(&ast).map_err(|error| vec![error])?;
    let operators = OPERATORS.iter().map(|(sign, function)| ((*sign).to_owned(), (*function).to_owned()));
    ast.replace_binary_operators(&operators.collect());
    Ok((metered, ast))
}

fn value_of(module: &FrozenModule, name: &str) -> Option<OwnedFrozenValue> {
    module.get_any_visibility(name).ok().map(|(value, _)| value)
}

type Values = Vec<(String, Data)>;

/// A parameter `tick_s` is the tick.
fn with_tick(values: Values, settings: &Settings) -> (AskedAt, Values) {
    let asked_at = params::tick_s(&values).map_or(settings.asked_at, asked_at);
    (asked_at, values)
}

fn asked_at(seconds: f64) -> AskedAt {
    super::super::queue_delay::tick(seconds)
}

/// Reads what the top level says.
fn settings(name: &str, contents: &Contents, module: &Module<'_>) -> Result<Settings, Vec<StarlarkError>> {
    let mut settings = Settings {
        summary: String::new(),
        params: Vec::new(),
        asked_at: asked_at(1.0),
        init_state: Data::Map(Vec::new()),
        uses_idle_timeout: true,
        first_ask: None,
    };
    let mut errors = Vec::new();
    for setting in check::SETTINGS {
        let Some(value) = module.get(setting) else { continue };
        if let Err((param, problem)) = settings.take(setting, value) {
            let place = contents.place_of(setting, &param);
            let message = if param.is_empty() { problem } else { format!("parameter `{param}`: {problem}") };
            errors.push(StarlarkError { place, ..StarlarkError::of_file(name, message) });
        }
    }
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

impl Settings {
    fn take(&mut self, setting: &str, value: Value<'_>) -> Result<(), params::BadParam> {
        let problem = |wanted: &str| (String::new(), format!("{setting} is {wanted}, here is {}", guard::shown(value)));
        match setting {
            "PARAMS" => self.params = params::read(value)?,
            "INIT_STATE" => self.init_state = Data::from_value(value).map_err(|what| (String::new(), what))?,
            "SUMMARY" => self.summary = value.unpack_str().ok_or_else(|| problem("a text"))?.to_owned(),
            "USES_IDLE_TIMEOUT" => {
                self.uses_idle_timeout = value.unpack_bool().ok_or_else(|| problem("True or False"))?;
            }
            "FIRST_ASK_S" => {
                let seconds = guard::number(value).filter(|seconds| (0.0..=86_400.0).contains(seconds));
                let seconds = seconds.ok_or_else(|| problem("a number of seconds from 0 to 86400"))?;
                self.first_ask = Some(Span::from_secs(seconds));
            }
            "TICK_S" => {
                let seconds = guard::number(value).filter(|seconds| (0.0..=3_600.0).contains(seconds));
                let wanted = "a number of seconds from 0 (at every event) to 3600";
                self.asked_at = asked_at(seconds.ok_or_else(|| problem(wanted))?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Parameters that are read and not declared.
fn unknown_params(contents: &Contents, declared: &[StarParam]) -> Result<(), Vec<StarlarkError>> {
    let unknown = contents.params_read.iter().filter(|(name, _)| declared.iter().all(|param| param.name != *name));
    let errors: Vec<StarlarkError> = unknown
        .map(|(name, error)| StarlarkError { message: params::unknown_param(declared, name), ..error.clone() })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
