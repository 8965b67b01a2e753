"""A word-piece vocabulary of one's own, as a Hugging Face tokenizer for BERT: cased, accents kept."""

from __future__ import annotations

from collections import Counter
from typing import Iterable, Iterator, List, Set

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_CONTINUATION = "##"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, *, min_notes: int = 3, max_length: int = 512
) -> BertTokenizerFast:
    """Train word pieces on the words that at least `min_notes` of the texts have.

    The vocabulary is public wherever the encoder goes: a word that few notes have, such as a name, gives no piece to
    it. Single characters are no such risk, and all are kept but those seen only once, up to half the vocabulary:
    without them whole words would be unknown. Chinese characters are words by themselves.

    vocab_size: at most; small collections give fewer. max_length: pieces of a sequence, for the tokenizer's settings.
    Raises ValueError if no word is in enough notes. Same texts and settings give the same vocabulary.
    """
    backend = _backend(models.WordPiece(unk_token="[UNK]"))
    normalizer, pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    notes_with: Counter = Counter()
    characters: Counter = Counter()
    notes: List[Counter] = []
    for text in texts:
        words = Counter(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)))
        notes_with.update(words.keys())
        for word, count in words.items():
            for character in word:
                characters[character] += count
        notes.append(words)
    common = {word for word, count in notes_with.items() if count >= min_notes}
    if not common:
        raise ValueError(f"no word is in {min_notes} notes")
    alphabet = _alphabet(backend, characters, (vocab_size - len(SPECIAL)) // 2)
    totals: Counter = Counter()
    for words in notes:
        for word in words.keys() & common:
            totals[word] += words[word]
    # Given as "special", the alphabet has fixed ids; the trainer numbers the rest of it in the order of a hash map,
    # and ids decide between merges that are equally frequent: the vocabulary would differ from run to run.
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(vocab_size, len(SPECIAL) + len(alphabet)),
        min_frequency=min_notes,
        special_tokens=[*SPECIAL, *alphabet],
        continuing_subword_prefix=_CONTINUATION,
        show_progress=False,
    )
    known = {piece for piece in alphabet if not piece.startswith(_CONTINUATION)}
    backend.train_from_iterator(_repeat(totals, known), trainer)
    model = models.WordPiece(backend.get_vocab(), unk_token="[UNK]", continuing_subword_prefix=_CONTINUATION)
    return _wrap(_backend(model), max_length)


def _backend(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _wrap(tokenizer: Tokenizer, max_length: int) -> BertTokenizerFast:
    """The tokenizer of a vocabulary {piece: id} that begins with the special pieces."""
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUATION)
    ids = {piece: tokenizer.token_to_id(piece) for piece in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=list(ids.items()),
    )
    return BertTokenizerFast(
        tokenizer_object=tokenizer,
        do_lower_case=False,
        strip_accents=False,
        tokenize_chinese_chars=True,
        model_max_length=max_length,
    )


def _alphabet(backend: Tokenizer, characters: Counter, most: int) -> List[str]:
    """Characters seen at least twice, the most frequent ones if there are too many; each also as a continuation."""
    pieces: List[str] = []
    for character in sorted(characters, key=lambda c: (-characters[c], c)):
        # Chinese characters and punctuation are cut off as words: they continue none.
        behind = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str("a" + character))
        forms = [character, _CONTINUATION + character] if len(behind) == 1 else [character]
        if characters[character] < 2 or len(pieces) + len(forms) > most:
            break
        pieces += forms
    return sorted(pieces)


def _repeat(totals: Counter, known: Set[str]) -> Iterator[str]:
    """Each word as often as it occurs, in a fixed order, in lines that are not too long."""
    for word in sorted(totals):
        if not known.issuperset(word):
            continue
        count = totals[word]
        while count > 0:
            yield " ".join([word] * min(count, 1000))
            count -= 1000
