"""Directions that say which name was repeated: do they classify, steer and erase?"""
