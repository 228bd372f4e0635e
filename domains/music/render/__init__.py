"""Songs made from scores: a speech library sings the words, a sound font plays the chords.

The voice is a robot: every page that shows results of this corpus says that it is synthetic.
"""
