//! Built-in functions of a policy. Each measures what it is given before it looks at it ([`super::measure`]); those that the
//! language has itself are then handed on to it.

use std::cmp::Ordering;

use starlark::environment::GlobalsBuilder;
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::Value;
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::list::{AllocList, ListRef};
use starlark::values::none::NoneType;
use starlark::values::tuple::{AllocTuple, TupleRef, UnpackTuple};

use super::guard::{STANDARD, book, is_scalar, needed, shown, text_of, whole};
use super::limits::{ENTRIES_MAX, TEXT_MAX, refused};
use super::measure;

/// Longest text that is read as a whole number, in letters: 64 binary digits and what may stand around them.
const DIGITS_MAX: usize = 80;
/// Most that `fail` quotes, in letters, and of one value that is no text.
const FAIL_MAX: usize = 400;

/// Calls the language's own function, once what it is given is measured.
fn handed_on<'v>(
    name: &str,
    given: &[Value<'v>],
    named: &[(&str, Value<'v>)],
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Value<'v>> {
    measure::deep(given, eval)?;
    let standard = STANDARD.iter().find(|(known, _)| *known == name).map(|(_, function)| function.to_value());
    eval.eval_function(standard.ok_or_else(|| refused(format!("there is no {name}()")))?, given, named)
}

/// The entries of a list, dict, tuple or text's letters.
fn entries<'v>(of: Value<'v>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<Vec<Value<'v>>> {
    measure::along(of, eval)?;
    Ok(of.iterate(eval.heap())?.collect())
}

/// What each of `items` is compared by.
fn keys<'v>(
    items: &[Value<'v>],
    key: Option<Value<'v>>,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Vec<Value<'v>>> {
    let Some(key) = key.filter(|key| !key.is_none()) else { return Ok(items.to_vec()) };
    items.iter().map(|item| eval.eval_function(key, &[*item], &[])).collect()
}

/// The first of `items` beside which none is beyond, in the order `beyond`.
fn furthest<'v>(
    given: UnpackTuple<Value<'v>>,
    key: Option<Value<'v>>,
    beyond: Ordering,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Value<'v>> {
    let items = match given.items.as_slice() {
        [one] => entries(*one, eval)?,
        several => several.to_vec(),
    };
    let keys = keys(&items, key, eval)?;
    // Each is compared with the best so far, which may be the largest: twice the size of all is enough for both sides.
    measure::repeated(&keys, 2, eval)?;
    let mut best = 0;
    for at in 1..items.len() {
        if keys[at].compare(keys[best])? == beyond {
            best = at;
        }
    }
    items.get(best).copied().ok_or_else(|| refused("min() or max() of nothing"))
}

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    /// The whole numbers from `a` (or 0) up to but without `b`, as a list.
    fn range<'v>(
        #[starlark(require = pos)] a: Value<'v>,
        #[starlark(require = pos)] b: Option<Value<'v>>,
        #[starlark(require = pos)] step: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let number = |value: Value<'v>| {
            let number = value.unpack_i32().map(i64::from);
            number.ok_or_else(|| refused(format!("range() wants whole numbers of 32 bits, got {}", shown(value))))
        };
        let (from, to) = match b {
            None => (0, number(a)?),
            Some(b) => (number(a)?, number(b)?),
        };
        let step = step.map_or(Ok(1), number)?;
        if step == 0 {
            return Err(refused("a range with a step of 0"));
        }
        let count = ((to - from + step - step.signum()) / step).max(0);
        if count > ENTRIES_MAX as i64 {
            return Err(refused(format!("a range of {count} numbers, at most {ENTRIES_MAX}")));
        }
        let numbers = eval.heap().alloc(AllocList((0..count).map(|index| from + index * step)));
        measure::along(numbers, eval)?;
        Ok(numbers)
    }

    /// A copy of a dict, or a dict from pairs.
    fn dict<'v>(
        #[starlark(require = pos)] of: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let heap = eval.heap();
        let Some(of) = of else { return Ok(heap.alloc(AllocDict::EMPTY)) };
        measure::along(of, eval)?;
        if let Some(of) = DictRef::from_value(of) {
            book(heap, of.len());
            return Ok(heap.alloc(AllocDict(of.iter().collect::<Vec<_>>())));
        }
        let mut entries = Vec::new();
        for pair in of.iterate(heap)? {
            let both =
                TupleRef::from_value(pair).map(TupleRef::content).or(ListRef::from_value(pair).map(|l| l.content()));
            let Some([key, item]) = both else {
                return Err(refused(format!("dict() wants pairs, got {}", shown(pair))));
            };
            measure::deep(&[*key], eval)?;
            key.get_hashed()?;
            entries.push((*key, *item));
        }
        book(heap, entries.len());
        Ok(heap.alloc(AllocDict(entries)))
    }

    /// The text of a value.
    fn str<'v>(#[starlark(require = pos)] of: Value<'v>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<String> {
        measure::deep(&[of], eval)?;
        text_of(of, &mut TEXT_MAX.clone())?;
        Ok(of.to_str())
    }

    /// The text of a value, texts in quotes.
    fn repr<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<String> {
        measure::deep(&[of], eval)?;
        text_of(of, &mut TEXT_MAX.clone())?;
        Ok(of.to_repr())
    }

    /// The sum of a list of numbers: whole if all are.
    fn sum<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let mut total = eval.heap().alloc(0_i32);
        for item in entries(of, eval)? {
            needed("sum()", item)?;
            total = total.add(item, eval.heap())?;
        }
        Ok(total)
    }

    /// `a / b` rounded up, for whole numbers.
    fn ceil_div(#[starlark(require = pos)] a: Value, #[starlark(require = pos)] b: Value) -> starlark::Result<i64> {
        let (Some(left), Some(right)) = (whole(a), whole(b)) else {
            return Err(refused(format!("ceil_div() wants whole numbers, got {} and {}", shown(a), shown(b))));
        };
        let quotient = left.checked_div_euclid(right).filter(|_| right > 0);
        let quotient = quotient.ok_or_else(|| refused(format!("ceil_div() by {right}")))?;
        Ok(quotient + i64::from(left.rem_euclid(right) > 0))
    }

    /// Ends the call with a message.
    fn fail(#[starlark(args)] args: UnpackTuple<Value>) -> starlark::Result<NoneType> {
        let mut text = String::from("fail:");
        for value in args.items {
            if text.len() > FAIL_MAX {
                break;
            }
            text.push(' ');
            match value.unpack_str() {
                Some(word) => text.extend(word.chars().take(FAIL_MAX)),
                None if text_of(value, &mut FAIL_MAX.clone()).is_ok() => text.push_str(&value.to_str()),
                None => text.push_str(&shown(value)),
            }
        }
        Err(refused(text))
    }

    /// How many entries or letters there are.
    fn len<'v>(#[starlark(require = pos)] of: Value<'v>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<i32> {
        if of.unpack_str().is_some() {
            measure::along(of, eval)?;
        }
        of.length()
    }

    /// True if one entry is.
    fn any<'v>(#[starlark(require = pos)] of: Value<'v>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<bool> {
        Ok(entries(of, eval)?.into_iter().any(Value::to_bool))
    }

    /// True if every entry is.
    fn all<'v>(#[starlark(require = pos)] of: Value<'v>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<bool> {
        Ok(entries(of, eval)?.into_iter().all(Value::to_bool))
    }

    /// A list of the entries.
    fn list<'v>(
        #[starlark(require = pos)] of: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let entries = of.map_or(Ok(Vec::new()), |of| entries(of, eval))?;
        Ok(eval.heap().alloc(AllocList(entries)))
    }

    /// A tuple of the entries.
    fn tuple<'v>(
        #[starlark(require = pos)] of: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let entries = of.map_or(Ok(Vec::new()), |of| entries(of, eval))?;
        Ok(eval.heap().alloc(AllocTuple(entries)))
    }

    /// The entries, last first.
    fn reversed<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let entries = entries(of, eval)?;
        Ok(eval.heap().alloc(AllocList(entries.into_iter().rev())))
    }

    /// Pairs of a number and an entry.
    fn enumerate<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        #[starlark(default = 0)] start: i32,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let entries = entries(of, eval)?;
        let heap = eval.heap();
        let pairs = entries.into_iter().enumerate().map(|(at, entry)| (at as i64 + i64::from(start), entry));
        Ok(heap.alloc(AllocList(pairs.collect::<Vec<_>>())))
    }

    /// Tuples of what stands at the same place, as many as the shortest has.
    fn zip<'v>(
        #[starlark(args)] args: UnpackTuple<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let columns = args.items.into_iter().map(|of| entries(of, eval)).collect::<Result<Vec<_>, _>>()?;
        let rows = columns.iter().map(Vec::len).min().unwrap_or(0);
        let heap = eval.heap();
        let row = |at: usize| heap.alloc(AllocTuple(columns.iter().map(|column| column[at]).collect::<Vec<_>>()));
        Ok(heap.alloc(AllocList((0..rows).map(row).collect::<Vec<_>>())))
    }

    /// The entries in order, or in that of `key(entry)`; equal ones stay as they are.
    fn sorted<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        #[starlark(require = named)] key: Option<Value<'v>>,
        #[starlark(require = named)] reverse: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let items = entries(of, eval)?;
        let keys = keys(&items, key, eval)?;
        // An entry is compared as often as the number of entries has binary digits.
        measure::repeated(&keys, 1 + u64::from(items.len().checked_ilog2().unwrap_or(0)), eval)?;
        let reverse = reverse.is_some_and(Value::to_bool);
        let mut failed = None;
        let mut places: Vec<usize> = (0..items.len()).collect();
        places.sort_by(|left, right| {
            let order = keys[*left].compare(keys[*right]).unwrap_or_else(|error| {
                failed = Some(error);
                Ordering::Equal
            });
            if reverse { order.reverse() } else { order }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(eval.heap().alloc(AllocList(places.into_iter().map(|at| items[at])))),
        }
    }

    /// The largest of the values, or of the entries of one.
    fn max<'v>(
        #[starlark(args)] args: UnpackTuple<Value<'v>>,
        #[starlark(require = named)] key: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        furthest(args, key, Ordering::Greater, eval)
    }

    /// The smallest.
    fn min<'v>(
        #[starlark(args)] args: UnpackTuple<Value<'v>>,
        #[starlark(require = named)] key: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        furthest(args, key, Ordering::Less, eval)
    }

    /// A number without its sign.
    fn abs<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        needed("abs()", of)?;
        handed_on("abs", &[of], &[], eval)
    }

    /// A whole number from a number, cut off at its point, or from a text.
    fn int<'v>(
        #[starlark(require = pos)] of: Option<Value<'v>>,
        base: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let Some(of) = of else { return Ok(eval.heap().alloc(0)) };
        if !is_scalar(of) && of.unpack_str().is_none_or(|text| text.len() > DIGITS_MAX) {
            return Err(refused(format!("int() wants a number or a text of at most {DIGITS_MAX} letters")));
        }
        let base = base.filter(|base| base.unpack_i32().is_some()).map(|base| ("base", base));
        let number = handed_on("int", &[of], base.as_slice(), eval)?;
        whole(number).ok_or_else(|| refused("a whole number beyond 64 bits"))?;
        Ok(number)
    }

    /// A number with a point from a number or a text.
    fn float<'v>(
        #[starlark(require = pos)] of: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        handed_on("float", of.as_slice(), &[], eval)
    }

    /// The letter of a number.
    fn chr<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        handed_on("chr", &[of], &[], eval)
    }

    /// The number of a letter.
    fn ord<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        handed_on("ord", &[of], &[], eval)
    }

    /// A number made of a text, the same for the same text.
    fn hash<'v>(
        #[starlark(require = pos)] of: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        handed_on("hash", &[of], &[], eval)
    }
}
