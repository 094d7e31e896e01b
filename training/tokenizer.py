"""Make the mini model's CLIPTokenizer: the words of the world are one token each, anything else falls into pieces.

python training/tokenizer.py --out RUN/tokenizer
"""

import argparse
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from motionclone.lab.world import BACKGROUNDS, COLOURS, SHAPES, TEXTURES

# Words that people may try; they mean nothing to the model but should not fill the prompt with single letters.
OTHERS = """
a an the of on in at with and over under to from by very small big large bright dark video clip photo picture scene
animal animals bear bird boat butterfly car cat city cloud cow deer dog dragon duck elephant eye eyes face field fire
fish flower flowers forest fox garden girl grass hand head high hill horse house jumping lake landscape leaf leaves
light lion man meadow moon mountain mountains ocean old panda park people person pig quality rabbit rain realistic
river road rock room running sand sea ship sky snow space street sun sunset swimming tiger train tree trees turning
village walking water wind woman wood yellowish young background camera moving motion best detailed cinematic
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    words = sorted({*COLOURS, *BACKGROUNDS, *SHAPES, *TEXTURES, "plain", *OTHERS.split()})
    model = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    model.normalizer = normalizers.Lowercase()
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=1, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    model.train_from_iterator(words, trainer)
    args.out.mkdir(parents=True, exist_ok=True)
    model.model.save(str(args.out))
    merges = [line for line in (args.out / "merges.txt").read_text().splitlines() if not line.startswith("#")]

    # CLIP's layout: letters, letters that end a word, merges, then the two marks.
    ordered = [
        *sorted(letters),
        *(letter + "</w>" for letter in sorted(letters)),
        *(m.replace(" ", "") for m in merges),
    ]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*ordered, "<|startoftext|>", "<|endoftext|>"]))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[tuple(line.split()) for line in merges], model_max_length=77)
    tokenizer.save_pretrained(args.out)
    (args.out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")

    loaded = CLIPTokenizer.from_pretrained(args.out)
    broken = [word for word in words if len(loaded(word).input_ids) != 3]
    if broken:
        raise SystemExit(f"not one token each: {broken}")
    print(f"{len(vocabulary)} tokens; a red star on blue waves: {loaded('a red star on blue waves').input_ids}")


if __name__ == "__main__":
    main()
