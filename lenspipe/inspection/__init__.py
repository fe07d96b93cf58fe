"""The inspection portal: people grade candidates in their browser, and no vote is lost.

=============  ====================================================
``command``    the subcommand ``lenspipe inspect``
``store``      every vote of every grader, in SQLite
``lists``      who sees what, in which order; what is slipped in
``images``     candidates, and their cutouts as pictures
``checks``     cutouts of simulated and known lenses to slip in
``app``        the server
``guard``      who may ask it
``grades``     from votes to grades; the export
``agreement``  how well graders agree, with each other and the truth
=============  ====================================================
"""
