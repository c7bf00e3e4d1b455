"""The final number of a text, case by case: what is a mark, what is a heading, what is neither."""

from __future__ import annotations

from decimal import Decimal

import pytest

from droidft.rewards.numbers import final_number


@pytest.mark.parametrize(
    ("text", "loose", "strict"),
    [
        # Right after the mark
        ("5 + 5 = 10\n#### 1,234", "1234", "1234"),
        ("#### -$1,234.50", "-1234.5", "-1234.5"),
        ("#### $-3", "-3", "-3"),
        ("####7", "7", "7"),
        ("####\n42", "42", "42"),
        ("#### 5 then #### 6", "6", "6"),
        ("#### 42 apples, 3 of them red", "42", "42"),
        ("#### 2.5 litres", "2.5", "2.5"),
        ("#### 50%\nThat is 1 in 2.", "50", "50"),
        ("#### 42. ", "42", "42"),
        ("#### 42.\nChecked twice, by 2 people.", "42", "42"),
        # Emphasis, formulas, equations
        ("#### **42** (steps: 3)", "42", "42"),
        ("#### __42__ after 3 steps", "42", "42"),
        ("#### `42`, line 7", "42", "42"),
        ("#### $42$ (3 steps)", "42", "42"),
        ("#### \\(42\\) (3 steps)", "42", "42"),
        ("#### \\$18 for 2", "18", "18"),
        ("#### 6 * 7 = 42", "42", "42"),
        ("#### x = 42 (as x - 2 = 40)", "42", "42"),
        ("#### 1/2 of 8", "0.5", "0.5"),
        ("#### \\frac{3}{4}", "0.75", "0.75"),
        # Headings are no marks
        ("#### 1. Add\n2 + 3 = 5\n\n#### 2. Result\nThe total is **5**.", "5", None),
        ("#### **2. Result**\nIt is 7.", "7", None),
        ("#### 2) Result\nIt is 7.", "7", None),
        ("#### 2.1. Result\nIt is 7.", "7", None),
        ("#### 2: Result\nIt is 7.", "7", None),
        ("#### 42\n\n#### 1. Why\nIt is 6 times 7.", "42", "42"),
        ("#### 42\n\n#### Why\nIt is 6 times 7.", "42", "42"),
        ("#### Step 3\nIt is 7.", "7", None),
        ("### 3 is no mark, 7 is last", "7", None),
        ("##### 3 is a smaller heading\n7", "7", None),
        ("#### none, but 3", "3", None),
        # Boxes
        ("So it is \\boxed{18}. Check: 18/2 = 9", "18", None),
        ("\\boxed{3}, no: \\boxed{18}. Check: 18/2 = 9", "18", None),
        ("\\boxed{x = 18} and 9", "18", None),
        ("\\boxed{18 \\text{ dollars}} of 20", "18", None),
        ("\\boxed{\\$1{,}234.50} and 9", "1234.5", None),
        ("\\boxed{1\\,234} and 9", "1234", None),
        ("\\boxed{\\frac{1}{2}} of 9", "0.5", None),
        ("\\boxed{-\\dfrac{1}{4}} of 9", "-0.25", None),
        ("\\boxed {\\textbf{18}} of 20", "18", None),
        ("\\boxed{3, 4} are two, 9 is last", "9", None),
        ("\\boxed{none} of 9", "9", None),
        ("cut off in \\boxed{4", "4", None),
        ("#### 5\nAs a formula: \\boxed{6}", "6", "5"),
        ("\\boxed{6}\n#### 5", "5", "5"),
        ("\\boxed{1/0} is nothing", "0", None),
        # Without any mark, the last number
        ("It is 50%.", "50", None),
        ("−3 degrees", "-3", None),
        ("5-3", "3", None),
        ("of 5 - 3", "3", None),
        ("x2 is 7", "7", None),
        ("about .5", "0.5", None),
        ("1e3", "1000", None),
        ("1,2,3", "3", None),
        ("no number", None, None),
        ("####", None, None),
        ("", None, None),
    ],
)
def test_the_final_number(text: str, loose: str | None, strict: str | None) -> None:
    assert final_number(text) == (None if loose is None else Decimal(loose))
    assert final_number(text, strict=True) == (None if strict is None else Decimal(strict))
