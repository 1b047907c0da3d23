-- A column that is there already is the application's own: used, and left alone by a drop.
DO {body};
