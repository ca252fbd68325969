//! Files that would do too much: time, memory, depth, state.

use super::*;

#[test]
fn calls_without_end_are_cut_off_with_the_line() {
    for (body, line) in [
        ("x = 0\nfor i in range(100000):\n    for j in range(100000):\n        x += 1\nreturn x", "p.star:5:"),
        ("x = [i for i in range(100000) for j in range(100000)]\nreturn 1", "p.star:1:"),
    ] {
        let found = failure(body);
        assert!(found.contains("steps") && found.contains(line), "{found}");
    }
    let deep = "def f(n):\n    return f(n + 1)\ndef advise(obs, state, params):\n    return f(0)\n";
    let found = called(deep).unwrap_err();
    assert!(found.contains("p.star:2:14: functions call each other more than 40 deep"), "{found}");
}

#[test]
fn memory_is_bounded_whatever_grows() {
    for body in [
        "return len(\"x\" * 1000000000)",
        "return len([0] * 1000000000)",
        "return len(1000000000 * (0,))",
        "return len(range(1000000000))",
        "return len([0] * 99999 * 99999)",
        "x = [1]\nfor i in range(100):\n    x = x + x\nreturn len(x)",
        "x = [1]\nfor i in range(100):\n    x += x\nreturn len(x)",
        "x = [1]\nfor i in range(100):\n    x.extend(x)\nreturn len(x)",
        "x = \"ab\"\nfor i in range(100):\n    x = x + x\nreturn len(x)",
        "x = 3\nfor i in range(100):\n    x = x * x\nreturn 1",
        "return 1 << 1000000000",
        "return len(\"%s%s\" % (\"x\" * 9000, \"y\" * 9000))",
        "x = [1]\nfor i in range(40):\n    x = [x, x]\nreturn len(str(x))",
        "d = {i: i for i in range(1000)}\nx = [dict(d) for i in range(20000)]\nreturn len(x)",
        "x = [list(range(90000)) for i in range(900)]\nreturn len(x)",
    ] {
        let found = failure(body);
        let bounded =
            ["MiB", "at most", "64 bits", "a text of more", "100000 steps"].iter().any(|words| found.contains(words));
        assert!(bounded, "{body}: {found}");
    }
}

/// What one step looks at is booked, however it is written.
#[test]
fn time_is_bounded_whatever_a_step_looks_at() {
    let twice = |literal: &str, times: u32| format!("x = {literal}\nfor i in range({times}):\n    x = {}\n", "NEW");
    let lists = twice("[1]", 60).replace("NEW", "[x, x]");
    let tuples = twice("(1,)", 60).replace("NEW", "(x, x)");
    let structs = twice("1", 60).replace("NEW", "struct(a = x, b = x)");
    let wide = "x = [0] * 100000\ny = [x] * 100000\nz = [x] * 100000\n";
    let text = "s = \"a\" * 10000\n";
    let long = "for i in range(49000):\n    ";
    let mut unbounded = Vec::new();
    for body in [
        format!("{lists}y = [1]\nfor i in range(60):\n    y = [y, y]\nreturn 1 if x == y else 2"),
        format!("{lists}y = [1]\nfor i in range(60):\n    y = [y, y]\nreturn 1 if x < y else 2"),
        format!("{lists}return 1 if x in [x[:]] else 2"),
        format!("{lists}return [1, 2].index(x)"),
        format!("{lists}[x[:]].remove(x)"),
        format!("{lists}return len(sorted([1, 2], key = lambda i: [i, x][1:]))"),
        format!("{lists}return len(max([x, x]))"),
        format!("{lists}return 1 if \"a\".startswith(x) else 2"),
        format!("{lists}return [1][x]"),
        format!("{lists}return len([1][x:])"),
        format!("{lists}return ord(x)"),
        format!("{lists}return float(x)"),
        format!("{tuples}d = {{x: 1}}\nreturn 1"),
        format!("{tuples}d = {{x: i for i in [1]}}\nreturn 1"),
        format!("{tuples}d = {{}}\nd[x] = 1\nreturn 1"),
        format!("{tuples}d = {{}}\nd[x] += 1\nreturn 1"),
        format!("{tuples}d = {{}}\nfor d[x] in [1]:\n    pass\nreturn 1"),
        format!("{tuples}d = {{}}\nd[(x, 1)], e = [1, 2]\nreturn 1"),
        format!("{tuples}return {{}}[x]"),
        format!("{tuples}return {{}}.get(x, 1)"),
        format!("{tuples}return {{}}.setdefault(x, 1)"),
        format!("{tuples}return ({{}}).pop(x, 1)"),
        format!("{tuples}d = {{}}\nd.update([(x, 1)])\nreturn 1"),
        format!("{tuples}return len(dict([(x, 1)]))"),
        format!("{tuples}return 1 if x in {{}} else 2"),
        format!("{structs}d = {{x: 1}}\nreturn 1"),
        format!("{wide}return 1 if y == z else 2"),
        format!("x = [0] * 100000\n{long}1 in x\nreturn 1"),
        format!("x = [0] * 100000\n{long}x.insert(0, x.pop())\nreturn 1"),
        format!("x = [0] * 100000\n{long}any(x)\nreturn 1"),
        format!("x = [0] * 100000\ndef f(*a):\n    return 1\n{long}f(*x)\nreturn 1"),
        format!("x = [0] * 100000\ny = []\n{long}y += x\n    y.clear()\nreturn 1"),
        format!("{text}{long}s.count(\"ab\")\nreturn 1"),
        format!("{text}{long}\"ab\" in s\nreturn 1"),
        format!("{text}{long}s[9999]\nreturn 1"),
        format!("{text}{long}len(s)\nreturn 1"),
        format!("{text}return len([s.count(\"ab\") for i in range(90000)])"),
        "x = [0] * 100000\nreturn len([sum(x) for i in range(90000)])".to_owned(),
        "x = [0] * 50000\nreturn len([x[:] for i in range(900)])".to_owned(),
        "x = [0] * 50000\nreturn len([x + x for i in range(900)])".to_owned(),
    ] {
        let found = failure(&body);
        let bounded = ["more than 100000 steps", "MiB", "at most"].iter().any(|words| found.contains(words));
        if !bounded {
            unbounded.push(format!("{body}: {found}"));
        }
    }
    assert!(unbounded.is_empty(), "{}", unbounded.join("\n\n"));
    let around = failure("f = \"a\".count\nreturn f(\"a\")");
    assert!(around.contains("p.star:2:9: a method is called where it is named"), "{around}");
}

#[test]
fn what_is_measured_is_told_where_it_stands_and_does_what_it_did() {
    let body = "d = {\"a\": 1, (1, \"b\"): 2}\nd[(1, \"c\")] = 3\nd[\"a\"] += d[(1, \"b\")] # (\n\
                t = (\"a\" + \"b c\").upper().split(\" \")[-1][0]\nm = [x.index(max(x)) for x in [[1, 3, 2]]]\n\
                s = sorted([3, 1, 2], key = lambda i: -i)[1:]\n\
                if [d[\"a\"], d[(1, \"c\")], t, m, s] != [3, 3, \"C\", [1], [2, 1]]:\n    fail(\"a\")\n\
                if list(zip([1, 2], \"ab\".elems())) != [(1, \"a\"), (2, \"b\")] or list(enumerate([5], 1)) != [(1, 5)]:\n    fail(\"b\")\n\
                if min(3, 2, 2.5) != 2 or max([1, 4], key = lambda i: -i) != 1 or int(\"-12\") != -12 or int(2.9) != 2:\n    fail(\"c\")\n\
                if reversed([1, 2]) != [2, 1] or abs(-2) != 2 or not any([0, 1]) or all([0, 1]) or tuple([1]) != (1,):\n    fail(\"d\")\n\
                if \"%s-%s\" % (1, \"a\") != \"1-a\" or struct(count = 4).count != 4 or 7 in [1]:\n    fail(\"e\")\n\
                return 1";
    assert_eq!(called(&advise(body)).map(|advice| advice.workers), Ok(1));
    let place = failure("d = {}\nx = d[(1, 2)] + [1].index(2)\nreturn 1");
    assert!(place.contains("p.star:3:9: Key `(1, 2)` was not found: `d[(1, 2)]`"), "{place}");
    let second = failure("x = [5][0].count\nreturn x");
    assert!(second.contains("p.star:2:"), "{second}");
}

#[test]
fn a_message_of_fail_is_short_whatever_it_is_given() {
    assert!(failure("fail(\"too few\", 2, [1, \"a\"])").contains("fail: too few 2 [1, \"a\"]"));
    let big = failure("x = \"a\" * 10000\ny = [x] * 90000\nfail(y, x)");
    assert!(big.contains("fail: a list aaa") && big.len() < 1_000, "{big}");
    assert!(failure("x = [1]\nfor i in range(60):\n    x = [x, x]\nfail(x)").contains("fail: a list"));
}

#[test]
fn files_nested_too_deeply_are_refused_before_they_are_parsed() {
    let many = |piece: &str| piece.repeat(3_000);
    for text in [
        format!("X = {}1{}\n", many("("), many(")")),
        format!("X = {}1\n", many("not ")),
        format!("X = 1{}\n", many(" + 1")),
        format!("X = {}1\n", many("-")),
        advise(&format!("return 1{}", many(".x"))),
        advise(&format!("if 1:\n    pass\n{}return 1", many("elif 1:\n    pass\n"))),
        advise(&(0..100).map(|depth| format!("{}if 1:\n", "  ".repeat(depth))).collect::<String>()),
        "#".repeat(70_000),
    ] {
        let found = compiled(&text).map(|_| ()).expect_err("it is refused");
        assert!(found.starts_with("p.star"), "{found}");
    }
    assert!(compiled(&format!("# {}\nX = [{}]\n", many("(("), many("1, "))).is_ok(), "long is not deep");
}

#[test]
fn a_state_that_grows_without_end_is_told_and_the_last_good_one_kept() {
    let mut policy = policy(&advise("state[\"seen\"] = state.get(\"seen\", []) + [obs.now_s]\nreturn 1"));
    let mut failed = None;
    for second in 0..40_000 {
        let seen = seen(second, 1);
        if let Err(error) = policy.call(&seen) {
            failed = Some(error.to_string());
            break;
        }
        if second == 40 {
            // Once is enough to know the slope; a window of this size makes the rest of the way quick.
            let full = serde_json::json!({ "seen": vec![0.5; 16_340] });
            let saved = serde_json::json!({ "state": full, "floor": 0, "faults": { "count": 0, "first": null } });
            policy.load(&saved).expect("it is a state");
        }
    }
    let failed = failed.expect("it is cut off");
    assert!(failed.contains("the state is larger than 256 KiB"), "{failed}");
    let kept = policy.save()["state"]["seen"].as_array().map(Vec::len);
    assert!(kept.is_some_and(|kept| kept > 16_000 && kept < 16_384), "{kept:?}");
}
