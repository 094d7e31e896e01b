"""The lab: does motion transfer? Cases x methods, measured, kept and reported (`motionclone evaluate`)."""
