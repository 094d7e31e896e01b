"""What is shown below the help of every command: calls that work, once tiger.mp4 is a clip of yours."""

EXAMPLES = {
    "demo": """
motionclone demo
motionclone demo figure-eight --colour yellow --shape ring --background purple --texture clouds --out-dir demo8
motionclone demo pan-left --image
""",
    "clone": """
motionclone clone tiger.mp4 "a red star on blue waves" -o star.mp4 --compare
motionclone clone tiger.mp4 "a red star on blue waves" --steps 8 --seed 3 --dry-run
motionclone clone tiger.mp4 "a pig walks in the forest" -o pig.mp4 --model animatediff --preset object --start 1 --end 3
motionclone clone tiger.mp4 "a pig walks" -o pig.mp4 --model wan2.1-1.3b --offload model --vae-tiling
""",
    "sweep": """
motionclone sweep tiger.mp4 "a red star on blue waves"
motionclone sweep tiger.mp4 "a red star on blue waves" -o pick.gif --strengths .5,1,2 --seeds 0,1,2 --steps 8
""",
    "extract": """
motionclone extract tiger.mp4 -o tiger.safetensors
motionclone extract frames/ --fps 12 -o walk.safetensors --model animatediff
""",
    "generate": """
motionclone generate tiger.safetensors "a green ring on gray rocks" -o ring.mp4
motionclone generate tiger.safetensors "a green ring on gray rocks" --seed 7 --weight 3000
""",
    "rerun": """
motionclone rerun star.json -o again.mp4
motionclone rerun star.json --reference clips/tiger.mp4
""",
    "verify-run": """
motionclone verify-run star.json
motionclone verify-run star.json --video elsewhere/star.mp4
""",
    "inspect": """
motionclone inspect tiger.safetensors
motionclone inspect tiger.safetensors --heatmap heat.mp4 --reference tiger.mp4
""",
    "push": """
motionclone push tiger.safetensors USER/tiger
motionclone push tiger.safetensors USER/tiger --private
""",
    "studio": """
motionclone studio
motionclone studio --model animatediff --offload model --folder videos
motionclone studio --host 0.0.0.0 --port 8000 --password "correct horse battery"
""",
    "evaluate": """
motionclone evaluate quick
motionclone evaluate quick --references clips/ --cases 4 --workers 1
""",
    "score": """
motionclone score videos/ --references clips/ --judge openai/clip-vit-base-patch32
motionclone score list.jsonl --judge mini -o scores.jsonl
""",
    "batch": """
motionclone batch jobs.yaml --dry-run
motionclone batch jobs.yaml --out-dir videos --workers 2
motionclone batch jobs.yaml --out-dir videos --shard 3/8
motionclone batch jobs.yaml --out-dir videos --ray
motionclone batch status videos
""",
    "models": """
motionclone models
motionclone models wan2.1-1.3b
""",
    "doctor": """
motionclone doctor
""",
}


def epilogue(command: str) -> str:
    """As help shows it, every call on a line of its own, as it is typed."""
    return f"Examples:\n```\n{EXAMPLES[command].strip()}\n```"
