package main

import "strings"

var nouns = strings.Fields(`
anchor apron arbor atlas badge barge basin beacon bellow bench binder blade bobbin bolt border bough bracket branch
bridge brook bucket buckle button cabin cable canoe canvas cargo carton cedar chalk chamber chapel chisel cinder circle
clamp clasp cliff cloak clover cobble comet compass copse coral cord cove crane crate crest crown current dam dapple delta
depot dial dock dome drawer drift drum dune easel ember engine estuary fable falcon fence fern ferry fjord flask fleet
flint flute foundry frost furrow gable galley garden gauge geyser girder glacier glade granite gravel grove gully hamlet
hammer harbor hatch hazel hearth hedge helm heron hinge hollow horizon island ivory jetty juniper kernel kiln knoll lagoon
lantern lattice ledger lever lichen locker loom lumber mantle maple marble marsh mast meadow mesa mill mirror moss mural
nave needle notch nozzle oak oasis orbit orchard osprey otter oven paddle pane parcel parlor pebble pier pillar pine
pivot plank plaza plume pond poplar prairie prism pulley quarry quartz quay quill raft rafter rampart ravine reed reef
ribbon ridge rivet rudder saddle sail sandal sapling satin scaffold scroll shale shelf shingle shore shutter sickle silo
sluice spindle spire spool sprig spruce stable steeple stencil strand summit swale tassel temple terrace thicket thimble
thistle timber tower trellis trench trestle tulip tunnel turbine turret valley vane vault velvet vessel villa vine
wagon walnut wharf wheel wicker willow windmill yard yarrow zenith`)

var verbs = strings.Fields(`
adorn align arrange assay attach banish bestow bind blend braid brew carve chart chase clad coil collate craft crank
deliver devise dig dispatch embark engrave etch fasten fathom ferry fold forge forward gather glean glide graft
grind harness haul heave hoist inspect instill join knit ladle launch lift linger mend mingle mold muster nudge obtain
outline paint pave ponder prepare proffer prune quench rake reckon refine render resolve rig roam scoop scour sculpt seek
settle sew shape sift sketch sow splice sprint stash stitch stow summon survey tally temper tend thread toss trace
trim tuck unfold usher venture wade weave weld wind wrap`)
