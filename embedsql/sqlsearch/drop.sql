-- Whatever arguments it got from the release that made it; a function that is not ours (by its comment) stays.
DO {body};
