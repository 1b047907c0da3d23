-- Whatever its arguments were in the release that made it; a function of somebody else's stays.
DO {body};
