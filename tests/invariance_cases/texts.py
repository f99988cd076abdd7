"""Short texts in several languages for the cases of stages that read text."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT_TYPE
from gristmill.pipeline.testing import doc_key_column

TEXTS = (
    "The ferry leaves the harbour at seven, and the bakery on the pier opens half an hour before.",
    "Die Fähre legt um sieben ab, und die Bäckerei am Kai öffnet eine halbe Stunde früher.",
    "O barco sai do porto às sete e a padaria do cais abre meia hora antes.",
    "Паром отходит в семь, а пекарня на пристани открывается на полчаса раньше.",
    "渡轮七点离开港口，码头上的面包店提前半小时开门。",
    "تغادر العبارة الميناء في السابعة، ويفتح المخبز على الرصيف قبل ذلك بنصف ساعة.",
    "12 34 56 78 90",
    "a",
    "!!! ??? …",
    "The ferry leaves the harbour at seven. Паром отходит в семь.",
    "Shut up. Women are worthless, stupid animals and should be beaten. I hate all women.",
    "We met at noon. Women are too stupid to vote. Then we had soup and went home in the rain.",
    "Our museum keeps letters of families who were persecuted for their religion. Visitors may read them.",
)


def documents(copies: int = 3, seed: int = 2) -> pa.Table:
    """Every text `copies` times in a mixed order, once as it is and else with more behind it."""
    draw = np.random.default_rng(seed)
    texts = [text + f" No {number}." * number for text in TEXTS for number in range(copies)]
    order = draw.permutation(len(texts))
    return pa.table(
        {"doc_key": doc_key_column(len(texts), seed), "text": pa.array([texts[row] for row in order], TEXT_TYPE)}
    )
