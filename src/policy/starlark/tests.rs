//! Hostile and wrong files, and what they are told.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::testing;
use super::super::{
    Advice, Observation, ParamError, ParamValue, PolicyChoice, ScaleReason, ScalingPolicy, Surplus, registry,
};
use super::scaling::StarlarkScaling;
use super::{Program, template, trial};
use crate::units::Span;

mod bounds;

/// A file whose `advise` has this body.
fn advise(body: &str) -> String {
    let lines: Vec<String> = body.lines().map(|line| format!("    {line}\n")).collect();
    format!("def advise(obs, state, params):\n{}", lines.concat())
}

fn compiled(text: &str) -> Result<Program, String> {
    let errors =
        |errors: Vec<super::StarlarkError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Program::compile("p.star", text, &BTreeMap::new()).map_err(errors)
}

fn policy(text: &str) -> StarlarkScaling {
    StarlarkScaling::new(compiled(text).unwrap_or_else(|error| panic!("{error}"))).expect("it has `advise`")
}

/// Jobs waiting at that second, and no worker.
fn seen(second: u32, queued: u32) -> Observation<'static> {
    testing::seen(f64::from(second), (queued, 0), (0, 0, 0))
}

/// What the first call says.
fn called(text: &str) -> Result<Advice, String> {
    policy(text).call(&seen(10, 3)).map_err(|error| error.to_string())
}

/// What the first call of a failing body says.
fn failure(body: &str) -> String {
    called(&advise(body)).expect_err(body)
}

#[test]
fn an_answer_may_be_a_number_a_dict_a_struct_or_a_pair() {
    let workers = |body: &str| called(&advise(body)).map(|advice| advice.workers);
    assert_eq!(workers("return 3"), Ok(3));
    assert_eq!(workers("return 3.0"), Ok(3));
    assert_eq!(workers("return (2, {})"), Ok(2));
    assert_eq!(workers("return struct(workers = obs.queued)"), Ok(3));
    let text = "return {\"workers\": 1, \"reason\": \"load_fell\", \"ask_again_s\": 2.5, \"surplus\": \"stop_idle\"}";
    let expected = Advice {
        workers: 1,
        reason: ScaleReason::LoadFell,
        ask_again: Some(Span::from_secs(2.5)),
        surplus: Surplus::StopIdle,
    };
    assert_eq!(called(&advise(text)), Ok(expected));
    assert_eq!(
        called(&advise("return {\"workers\": 1, \"reason\": \"because\"}")).map(|a| a.reason),
        Ok(ScaleReason::Policy)
    );
}

#[test]
fn an_ill_typed_answer_is_told_at_the_function() {
    for (body, told) in [
        ("pass", "p.star:1:5: `advise` answers `None` (is there a way out without `return`?); it wants"),
        ("return \"many\"", "p.star:1:5: `advise` answers `many`; it wants"),
        ("return 1.5", "p.star:1:5: 1.5 workers: round it"),
        ("return -1", "p.star:1:5: -1 workers: write `max(0, ...)`"),
        ("return {\"worker\": 1}", "`advise` answers with `worker`; there is: workers, reason"),
        ("return {\"reason\": \"x\"}", "`advise` answers without `workers`"),
        ("return {\"workers\": 1, \"surplus\": \"drop\"}", "`surplus` is `drop`; there is: keep_alive"),
        ("return {\"workers\": 1, \"ask_again_s\": -1}", "`ask_again_s` is `-1`, no seconds"),
        ("state[\"f\"] = advise\nreturn 1", "a function cannot be kept in the state"),
        ("state[1] = 1\nreturn 1", "has the key `1`: keys must be texts"),
        ("state[\"x\"] = float(\"inf\")\nreturn 1", "it is no finite number"),
    ] {
        let found = failure(body);
        assert!(found.contains(told), "{body}: {found}");
    }
}

#[test]
fn a_file_that_is_wrong_is_refused_with_line_column_and_text() {
    for (text, told) in [
        ("def advise(obs, state, params)\n    return 1\n", "p.star:1:31: "),
        (
            "def advise(obs, state):\n    return 1\n",
            "p.star:1:5: `advise` takes (obs, state, params), without defaults: `advise(obs, state`",
        ),
        (
            "def advise(obs, state, params):\n    return obs.queud\n",
            "p.star:2:16: the observation has no field of this name; did you mean `queued`?: `queud`",
        ),
        ("def advise(obs, state, params):\n    return quued\n", "p.star:2:12: Variable `quued` not found"),
        (
            "def advise(obs, state, params):\n    return params.target\n",
            "p.star:2:19: no such parameter; the file declares none: `target`",
        ),
        (
            "PARAMS = {\"target\": 1}\ndef advise(obs, state, params):\n    return params.tarket\n",
            "p.star:3:19: no such parameter; did you mean `target`?",
        ),
        (
            "PARAM = {}\ndef advise(obs, state, params):\n    return 1\n",
            "p.star:1:1: no setting has this name; did you mean `PARAMS`?: `PARAM`",
        ),
        (
            "PARAMS = {\"a\": {\"default\": 1, \"max\": 0}}\ndef advise(obs, state, params):\n    return 1\n",
            "p.star:1:11: parameter `a`: its default is not a whole number up to 0",
        ),
        (
            "PARAMS = {\"a\": {\"defualt\": 1}}\ndef advise(obs, state, params):\n    return 1\n",
            "p.star:1:11: parameter `a`: its entry has the key `defualt`; there is: default, min",
        ),
        (
            "TICK_S = \"often\"\ndef advise(obs, state, params):\n    return 1\n",
            "p.star:1:1: TICK_S is a number of seconds from 0",
        ),
        ("load(\"other.star\", \"x\")\ndef advise(obs, state, params):\n    return 1\n", "p.star:1:1: "),
        ("for i in range(3):\n    pass\n", "p.star:1:1: "),
        ("X = [i for i in [1, 2]]\n", "p.star:1:5: a comprehension at the top level"),
        ("X = len([1])\n", "p.star:1:5: a call at the top level"),
        (
            "def advise(obs, state, params):\n    x = 2\n    x *= obs.queued\n    return x\n",
            "p.star:3:5: `*=` is not there: write `x = x * obs.queued`",
        ),
        (
            "def advise(obs, state, params):\n    return len(\",\".join([\"a\"]))\n",
            "`.join()` is not there: add the texts with `+`",
        ),
        ("def __multiply(a, b):\n    return 1\n", "names that begin with `__` are taken"),
        ("import os\n", "p.star:1:1: "),
    ] {
        let found = compiled(text).map(|_| ()).expect_err(text);
        assert!(found.contains(told), "{text}\n{found}");
    }
}

/// Told when the file is read, though no trial comes there.
#[test]
fn what_fails_whenever_it_is_reached_is_told_before_it_is() {
    for (line, told) in [
        (
            "return obs.queued + \"x\" + len(3)",
            "p.star:3:16: a number and a text cannot be added: `obs.queued + \"x\"`",
        ),
        ("return len(3)", "p.star:3:16: `len()` is given a number: `len(3)`"),
        ("foo = obs.queued.bar()", "p.star:3:26: a number has no field or method of this name: `bar`"),
        ("foo = obs.oldest_wait_s.bar", "p.star:3:33: a number has no field"),
        ("foo = obs.trigger.bar()", "p.star:3:27: a text has no field or method of this name: `bar`"),
        ("foo = str(1).bar()", "p.star:3:22: a text has no field or method"),
        ("return ceil_div(1)", "p.star:3:16: `ceil_div()` takes 2 values, here are 1: `ceil_div(1)`"),
        ("return math.pow(1)", "`math.pow()` takes 2 values, here are 1"),
        ("return math.cbrt(1)", "`math` has none of this name; there is: ceil, floor"),
        ("return sorted([1], by = 2)", "`sorted()` takes nothing named `by`"),
        ("return 1 if obs.queued > \"1\" else 2", "a number and a text cannot be compared"),
        ("return 1 if 1 in obs.idle else 2", "the second holds nothing"),
        ("return helper(1)", "`helper` takes 2 values, here are 1"),
        ("return waiting_longer_than(\"4\")", "`waiting_longer_than()` is given a text"),
    ] {
        let text = format!(
            "def advise(obs, state, params):\n    if obs.queued > 1000:\n        {line}\n    return 1\n\
             def helper(a, b):\n    return a\n"
        );
        let found = compiled(&text).map(|_| ()).expect_err(line);
        assert!(found.contains(told), "{line}\n{found}");
    }
    // Names that the file gives to something else are its own, and values of unknown kind are not judged.
    for body in [
        "len = 3\nreturn len",
        "return max(*[1, 2]) + min([obs.queued], key = lambda x: -x)",
        "x = obs.queued\nreturn x + int(state.get(\"y\", 0)) + state.get(\"z\", 1)",
        "return len([w for w in obs.workers if w.phase == \"ready\"])",
        "s = struct(len = 4)\nreturn s.len + len(\"%d\" % obs.queued) + len(obs.trigger.upper())",
        "return 2 if obs.oldest_wait_s and obs.oldest_wait_s > 4 else 1",
    ] {
        assert!(compiled(&advise(body)).is_ok(), "{body}: {:?}", compiled(&advise(body)).map(|_| ()));
    }
}

#[test]
fn odd_files_are_read_or_refused_in_plain_words() {
    let rule = "def advise(obs, state, params):\n    return 1\n";
    assert!(compiled(&format!("\u{feff}{rule}")).is_ok(), "a mark of the encoding is no part of the text");
    let twice = compiled(&format!("{rule}{rule}")).map(|_| ()).expect_err("one of them never runs");
    assert!(twice.contains("p.star:3:5: a function of this name is there already"), "{twice}");
    assert!(compiled(&format!("PARAMS = {{\"far\": 3000000000}}\n{rule}")).is_ok(), "a default of 64 bits");
    let far = compiled(&format!("PARAMS = {{\"far\": 9007199254740993}}\n{rule}")).map(|_| ()).expect_err("2^53 + 1");
    assert!(far.contains("beyond 2^53"), "{far}");
    let long = compiled(&format!("X = {}\n{rule}", "9".repeat(100))).map(|_| ()).expect_err("too long");
    assert!(long.contains("a whole number beyond 64 bits"), "{long}");
    let far_off = compiled(&advise("return obs.foo")).map(|_| ()).expect_err("no such field");
    assert!(far_off.contains("there is: now_s") && !far_off.contains("did you mean"), "{far_off}");
}

#[test]
fn a_file_without_the_function_is_refused_with_one_that_may_be_meant() {
    let missing = |text: &str| {
        let choice = PolicyChoice { source: Some(text.to_owned()), ..PolicyChoice::named("p.star") };
        registry::scaling(&choice).err().map(|error| error.to_string())
    };
    let near = missing("def advice(obs, state, params):\n    return 1\n").unwrap();
    assert_eq!(near, "p.star:1:5: there is no `def advise(obs, state, params)`; is this it?: `advice`");
    assert_eq!(missing("X = 1\n").unwrap(), "p.star: there is no `def advise(obs, state, params)`");
    let absent = registry::scaling(&PolicyChoice::named("p.star")).err().map(|error| error.to_string());
    assert_eq!(absent.unwrap(), "p.star: the text of this policy is not at hand here");
}

#[test]
fn a_failing_call_is_answered_by_the_default_and_counted() {
    let mut policy = policy(&advise("return 7 if obs.now_s < 5 else 1 // obs.idle"));
    assert_eq!((policy.advise(&seen(0, 1)).workers, policy.faults().is_none()), (7, true));
    let mut default = registry::scaling(&PolicyChoice::named("queue_delay")).unwrap();
    for second in [5, 6] {
        let advice = policy.advise(&seen(second, 1));
        let expected = default.advise(&seen(second, 1));
        assert_eq!(advice, Advice { reason: ScaleReason::PolicyFault, ..expected });
    }
    let faults = policy.faults().cloned().expect("two calls failed");
    assert_eq!(faults.count, 2);
    assert!(faults.first.is_some_and(|first| first.starts_with("p.star:2:")), "the line is told");
}

#[test]
fn what_it_keeps_goes_through_json_and_whole_numbers_stay_whole() {
    let text = format!(
        "INIT_STATE = {{\"n\": 0, \"x\": 0.5, \"l\": [1, 2.0, None, True, \"t\"]}}\n{}",
        advise(
            "state[\"n\"] += 1\nif type(state[\"l\"][1]) != \"float\":\n    fail(\"not a float\")\nreturn state[\"n\"]"
        )
    );
    let mut first = policy(&text);
    first.call(&seen(1, 1)).unwrap();
    let saved: Value = serde_json::from_str(&first.save().to_string()).unwrap();
    let mut second = policy(&text);
    second.load(&saved).unwrap();
    assert_eq!(second.call(&seen(2, 1)).map(|advice| advice.workers), Ok(2));
    assert!(second.load(&Value::Null).is_err(), "a state that is none is refused");
}

#[test]
fn parameters_are_held_against_what_the_file_declares() {
    let text = "PARAMS = {\"target\": {\"default\": 2, \"min\": 1, \"max\": 9}, \"word\": {\"default\": \"a\", \"choices\": [\"a\", \"b\"]}}\n\
                def advise(obs, state, params):\n    return params.target\n";
    let build = |name: &str, value: ParamValue| {
        let mut choice = PolicyChoice { source: Some(text.to_owned()), ..PolicyChoice::named("p.star") };
        choice.params.insert(name.to_owned(), value);
        registry::scaling(&choice).map(|mut policy| policy.advise(&seen(1, 1)).workers)
    };
    assert_eq!(build("target", ParamValue::Number(5.0)), Ok(5));
    let wrong = |name: &str, value: ParamValue| build(name, value).unwrap_err().to_string();
    assert_eq!(
        wrong("target", ParamValue::Number(1.5)),
        "p.star: parameter `target`: 1.5, must be a whole number from 1 to 9"
    );
    assert_eq!(wrong("word", ParamValue::Text("c".into())), "p.star: parameter `word`: `c`, must be one of a, b");
    assert_eq!(
        wrong("tarket", ParamValue::Number(1.0)),
        "p.star: parameter `tarket`: no such parameter; did you mean `target`?"
    );
    // A common key of all scaling policies goes round it.
    assert_eq!(build("ceiling", ParamValue::Number(1.0)), Ok(1));
    assert!(matches!(build("ceiling", ParamValue::Bool(true)), Err(ParamError::BadValue { .. })));
}

#[test]
fn mathematics_is_there_and_refuses_what_has_no_answer() {
    let body = "if math.ceil(1.2) != 2 or math.floor(-1.2) != -2 or math.round(2.5) != 3 or ceil_div(7, 2) != 4:\n    fail(\"a\")\n\
                if abs(math.log(math.exp(1.5)) - 1.5) > 1e-12 or math.pow(2, 10) != 1024.0 or math.sqrt(9) != 3.0:\n    fail(\"b\")\n\
                if sum([1, 2, 3]) != 6 or sum([0.5, 1]) != 1.5 or range(5, 0, -2) != [5, 3, 1] or range(2) != [0, 1]:\n    fail(\"c\")\n\
                if \"%d of %s\" % (2, \"x\") != \"2 of x\" or 7 % 4 != 3 or 3 << 2 != 12 or [0] * 2 != [0, 0]:\n    fail(\"d\")\n\
                if dict([(\"a\", 1)]) != {\"a\": 1} or {\"a\": 1} | {\"b\": 2} != {\"a\": 1, \"b\": 2} or str([1]) != \"[1]\":\n    fail(\"e\")\n\
                return 1";
    assert_eq!(called(&advise(body)).map(|advice| advice.workers), Ok(1));
    assert!(failure("return math.ceil(state.get(\"y\", \"x\"))").contains("math.ceil() wants a number, got `x`"));
    assert!(failure("return math.log(0)").contains("no finite number"));
    let around = compiled(&advise("return getattr(obs, \"queued\")")).map(|_| ());
    assert!(around.is_err_and(|error| error.contains("`getattr` not found")), "fields are named");
}

#[test]
fn overdue_jobs_can_be_counted_and_are_looked_up_once() {
    let mut policy =
        policy(&advise("return waiting_longer_than(4) + waiting_longer_than(4.0) + waiting_longer_than(9)"));
    let first = policy.call(&seen(10, 3)).expect("it is looked up");
    assert_eq!(policy.call(&seen(10, 3)), Ok(first));
}

#[test]
fn the_templates_pass_their_own_trial() {
    for keep_alive in [false, true] {
        let text = template::text("mine", keep_alive);
        assert!(text.contains("policies/mine.star") && !text.contains("NAME"));
        let program = || compiled(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(trial::scaling(program()), Ok(()));
        if keep_alive {
            assert_eq!(trial::keep_alive(program()), Ok(()));
        }
    }
}

#[test]
fn two_policies_of_one_text_answer_alike_whatever_the_other_was_asked() {
    let text = advise("state[\"n\"] = state.get(\"n\", 0) + 1\nreturn state[\"n\"]");
    let (mut one, mut other) = (policy(&text), policy(&text));
    one.call(&seen(1, 1)).unwrap();
    one.call(&seen(2, 1)).unwrap();
    assert_eq!(other.call(&seen(1, 1)).map(|advice| advice.workers), Ok(1));
}
